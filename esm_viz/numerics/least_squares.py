"""Linear equations with a second moment on their left, which may be singular: few tokens, dead or dependent inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from esm_viz.numerics.eigenvalue_spectrum import FLOOR

STEPS = 4  # of inverse iteration; each brings the estimate closer by the ratio of the two least eigenvalues


def least_norm_solution(gram: Tensor, right: Tensor) -> Tensor:
    """Return X = G⁺ B, of all X with G X = B the one of least norm.

    Where a Cholesky factor is accurate there is only one; G is brought to a diagonal of ones first, so that this does
    not depend on how large each input is. Elsewhere eigenvalues of G at or below FLOOR times the largest count as
    zero: their directions are rounding of the moments.

    Args:
        gram: G, (n, n), float64, symmetric, no negative eigenvalue but for rounding.
        right: B, (n, m), float64, in the range of G but for rounding.

    Returns:
        X, (n, m); zero in the rows of inputs that are always zero.
    """
    size = gram.diagonal().clamp_min(0).sqrt()
    scale = torch.where(size > 0, 1 / size, 0.0)[:, None]
    unit = scale * gram * scale.mT
    unit.diagonal().fill_(1.0)  # also for dead inputs, whose right side is zero
    factor, failed = torch.linalg.cholesky_ex(unit)
    if not failed and _least_eigenvalue(factor) > FLOOR * torch.linalg.matrix_norm(unit):
        return scale * torch.cholesky_solve(scale * right, factor)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    live = eigenvalues > FLOOR * eigenvalues[-1]
    return (vectors[:, live] / eigenvalues[live]) @ (vectors[:, live].mT @ right)


def _least_eigenvalue(factor: Tensor) -> float:
    """Estimate the least eigenvalue of L Lᵀ, from above, by inverse iteration from the input with the least pivot."""
    vector = torch.zeros_like(factor[:, :1])
    vector[factor.diagonal().argmin()] = 1.0
    for _ in range(STEPS):
        vector = torch.cholesky_solve(vector / torch.linalg.vector_norm(vector), factor)
    return 1 / float(torch.linalg.vector_norm(vector))
