"""Overlap and principal angles of two subspaces, and random subspaces to compare with."""

from __future__ import annotations

import torch
from torch import Tensor


def overlap(left: Tensor, right: Tensor) -> float:
    """Return ‖Ê_iᵀ Ê_j‖_F² / k in [0, 1]: 1 for the same subspace, k / d_out for random ones.

    Args:
        left: orthonormal columns, (d_out, a).
        right: orthonormal columns, (d_out, b); k = max(a, b), so that only equal subspaces have overlap 1.
    """
    k = max(left.shape[1], right.shape[1])
    return float((left.mT @ right).square().sum() / k) if min(left.shape[1], right.shape[1]) else 0.0


def principal_angles(left: Tensor, right: Tensor) -> Tensor:
    """Return the principal angles between two subspaces, ascending, in degrees, (min(a, b),).

    Small angles are computed from sines and large ones from cosines, since an arc cosine near 1 loses half the digits
    (A. V. Knyazev and M. E. Argentati 2002).

    Args:
        left: orthonormal columns, (d_out, a).
        right: orthonormal columns, (d_out, b).
    """
    if left.shape[1] < right.shape[1]:
        left, right = right, left
    shared = left.mT @ right
    cosines = torch.linalg.svdvals(shared).clamp(0, 1)
    sines = torch.linalg.svdvals(right - left @ shared).flip(0).clamp(0, 1)
    return torch.rad2deg(torch.where(cosines.square() < 0.5, torch.arccos(cosines), torch.arcsin(sines)))


def random_subspace(d_out: int, k: int, seed: int) -> Tensor:
    """Return an orthonormal basis of a uniformly random k-dimensional subspace, (d_out, k), float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d_out, k, dtype=torch.float64, generator=generator))[0]
