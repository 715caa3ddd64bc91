"""Deterministic metric multidimensional scaling: points of a high-dimensional space drawn on a plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

STRIDE, MOST_STRIDES = 20, 15  # iterations between two checks of the stress, and most checks
SETTLED = 1e-5  # smaller improvements of the stress between two checks end the iteration, as they cannot be seen


class Plane(NamedTuple):
    """Positions, (n, 2), float64, and Kruskal's stress 1: √(Σ (drawn − true distance)² / Σ true distance²)."""

    positions: Tensor
    stress: float


def plane_of(points: Tensor, boundary: Callable[[float], None] = lambda done: None) -> Plane:
    """Place points on a plane so that their distances change as little as possible.

    SMACOF (J. de Leeuw 1977) starts from the first two principal axes instead of a random start. Distances determine
    the result up to rotation, reflection and translation: it is centred, its longer side lies along x, and the first
    point with a coordinate other than 0 has a positive one.

    Args:
        points: (n, m), finite.
        boundary: called with the share of iterations done; may raise to stop.
    """
    from sklearn.manifold import smacof  # imported late: takes a second and only this figure needs it

    points = points.double().cpu()
    if not len(points):
        return Plane(points.new_zeros(0, 2), 0.0)
    centred = points - points.mean(0)
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    positions = _on_its_axes(centred)
    stress = _stress(positions, distances)
    for step in range(MOST_STRIDES):
        boundary(step / MOST_STRIDES)
        if not stress:
            break
        moved, _ = smacof(
            distances.numpy(),
            init=positions.numpy(),
            n_init=1,
            max_iter=STRIDE,
            eps=0.0,
            random_state=0,
            normalized_stress=False,
        )
        before, positions = stress, torch.from_numpy(moved)
        stress = _stress(positions, distances)
        if before - stress < SETTLED:
            break
    return Plane(_on_its_axes(positions - positions.mean(0)), stress)


def _on_its_axes(centred: Tensor) -> Tensor:
    """Rotate points to their first two principal axes, (n, 2); the first coordinate other than 0 is positive."""
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    turned = torch.zeros(len(centred), 2, dtype=centred.dtype)
    turned[:, : len(s)] = (u * s)[:, :2]
    noise = 1e-9 * turned.abs().max()
    for axis in turned.T:
        off = axis[axis.abs() > noise]
        if len(off) and off[0] < 0:
            axis.neg_()
    return turned


def _stress(positions: Tensor, distances: Tensor) -> float:
    drawn = torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist")
    total = distances.square().sum()
    share = (drawn - distances).square().sum() / total if total > 0 else total
    return float(share.sqrt()) if share > torch.finfo(share.dtype).eps else 0.0  # smaller values are rounding
