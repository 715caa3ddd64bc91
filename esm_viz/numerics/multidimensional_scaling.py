"""Many dimensions on a plane: metric multidimensional scaling that draws the same picture every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

STRIDE, MOST_STRIDES = 20, 15  # iterations between two looks at the stress, and how many looks
SETTLED = 1e-5  # a stride that lowers the stress by less ends it; nobody sees that on a screen


class Plane(NamedTuple):
    """Positions, (n, 2), float64, and Kruskal's stress 1: √(Σ (drawn − true distance)² / Σ true distance²)."""

    positions: Tensor
    stress: float


def plane_of(points: Tensor, boundary: Callable[[float], None] = lambda done: None) -> Plane:
    """Draw points of a higher space on a plane so that their distances change as little as can be.

    SMACOF (J. de Leeuw 1977) from the first two principal axes, so that no random start is needed. Distances fix the
    picture but for a motion; it is centred, its wide side lies along x, and the first point off an axis has the
    positive side of it.

    Args:
        points: (n, m), finite.
        boundary: told the share of the iterations that is done; may raise to stop.
    """
    from sklearn.manifold import smacof  # a second to import, for one picture

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
    """Turn points to their first two principal axes, (n, 2); signs by the first point that is off each axis."""
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
    return float(share.sqrt()) if share > torch.finfo(share.dtype).eps else 0.0  # what is left is rounding
