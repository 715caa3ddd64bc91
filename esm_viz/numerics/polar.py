"""Polar factors: the nearest matrix with equal singular values, which is how ESM makes tasks' factors orthogonal."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ILL_CONDITIONED = 1e-10
"""Below this ratio of Gram eigenvalues (singular values 1e-5 apart) float64 squares blur the small ones: use an SVD."""


class Polar(NamedTuple):
    """polar(M) = U Vᵀ on the non-zero singular values of M = U S Vᵀ, and Σ S.

    Attributes:
        factor: same shape as M; the minimal-norm choice where M has not full rank (zero on its null space).
        nuclear: sum of the singular values, a number on M's device.
    """

    factor: Tensor
    nuclear: Tensor


def polar(matrix: Tensor) -> Polar:
    """Split off the polar factor, through the Gram matrix of the smaller side where that is accurate.

    One Newton-Schulz step (P ← P (3 − PᵀP) / 2) takes out what squaring the singular values cost; stacks too
    ill-conditioned for that, or rank-deficient, go through a float64 SVD.

    Args:
        matrix: (m, n), float64.
    """
    scale = matrix.abs().max() if matrix.numel() else matrix.new_zeros(())
    if scale == 0:
        return Polar(torch.zeros_like(matrix), matrix.new_zeros(()))
    unit = matrix / scale  # squares of 1e-30 and 1e30 stay in range
    thin = unit if unit.shape[0] >= unit.shape[1] else unit.mT
    root = inverse_root(thin.mT @ thin)
    if root is None:
        factor, nuclear = _polar_by_svd(thin)
    else:
        factor, nuclear = thin @ root.factor, root.nuclear
        factor = 1.5 * factor - 0.5 * factor @ (factor.mT @ factor)
    return Polar(factor if thin is unit else factor.mT, nuclear * scale)


def inverse_root(gram: Tensor, least: float = ILL_CONDITIONED) -> Polar | None:
    """Return (MᵀM)^(−1/2), (n, n), and Σ of M's singular values; None where that would not be accurate.

    polar(M) = M (MᵀM)^(−1/2), so several stacks that share their Gram matrices need no decomposition of their own.

    Args:
        gram: G = MᵀM, (n, n), float64; entries neither huge nor tiny.
        least: smallest ratio of G's eigenvalues that is accepted.
    """
    eigenvalues, vectors = torch.linalg.eigh(gram)
    if not eigenvalues[0] > least * eigenvalues[-1]:
        return None
    singular = eigenvalues.sqrt()
    return Polar((vectors / singular) @ vectors.mT, singular.sum())


def orthogonalized(matrix: Tensor, count: int | None = None) -> Tensor:
    """Return ortho(M) = polar(M) · mean singular value of M (arXiv:2602.20208, fusion; METHOD, ESM step 2).

    Args:
        matrix: (m, n), float64; columns or rows that are all zero may be left out of it.
        count: over how many singular values the mean runs; min(m, n) unless zeros were left out.
    """
    factor, nuclear = polar(matrix)
    return factor * (nuclear / (count or min(matrix.shape)))


def _polar_by_svd(thin: Tensor) -> tuple[Tensor, Tensor]:
    u, s, vt = torch.linalg.svd(thin, full_matrices=False)
    keep = s > max(thin.shape) * torch.finfo(thin.dtype).eps * s[0]
    return u[:, keep] @ vt[keep], s.sum()
