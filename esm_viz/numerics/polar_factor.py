"""Polar factors, by which ESM orthogonalizes the tasks' directions and coordinates."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from esm_viz.numerics.gram_svd import gram, right_levels, through_polar


class Polar(NamedTuple):
    """polar(M) = U Vᵀ on the non-zero singular values of M = U S Vᵀ, and Σ S.

    Attributes:
        factor: same shape as M; of least norm if M does not have full rank (zero on its null space).
        nuclear: sum of the singular values, a scalar tensor on M's device.
    """

    factor: Tensor
    nuclear: Tensor


def polar(matrix: Tensor) -> Polar:
    """Return the polar factor M (MᵀM)^(−1/2), computed from the Gram matrix of the smaller side.

    Args:
        matrix: M, (m, n), float64.
    """
    scale = matrix.abs().max() if matrix.numel() else matrix.new_zeros(())
    if scale == 0:
        return Polar(torch.zeros_like(matrix), matrix.new_zeros(()))
    unit = matrix / scale  # so that squares of 1e-30 or 1e30 stay in range
    thin = unit if unit.shape[0] >= unit.shape[1] else unit.mT
    levels = right_levels(gram(thin), lambda vectors: thin @ vectors)
    factor = through_polar(thin, levels)
    nuclear = torch.stack([level.values.sum() for level in levels]).sum()
    return Polar(factor if thin is unit else factor.mT, nuclear * scale)


def orthogonalized(matrix: Tensor, count: int | None = None) -> Tensor:
    """Return ortho(M) = polar(M) · mean singular value of M (arXiv:2602.20208, fusion; METHOD, ESM step 2).

    Args:
        matrix: (m, n), float64; rows or columns of zeros may be left out.
        count: number of singular values in the mean; min(m, n) by default, more if zeros were left out.
    """
    factor, nuclear = polar(matrix)
    return factor * (nuclear / (count or min(matrix.shape)))
