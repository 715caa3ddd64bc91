"""Least-norm solution of linear equations with a second moment, which may be singular."""

from __future__ import annotations

import torch
from torch import Tensor

from esm_viz.numerics.eigenvalue_spectrum import FLOOR

STEPS = 4  # of inverse iteration; each reduces the error by the ratio of the two least eigenvalues


def least_norm_solution(gram: Tensor, right: Tensor) -> Tensor:
    """Return X = G⁺ B, the solution of G X = B with the least norm.

    G is first scaled to a diagonal of ones, so that the result does not depend on the sizes of the inputs. If G is
    well conditioned, Cholesky's factorization is used. If not, eigenvalues of G at or below FLOOR times the largest
    count as zero, since they are rounding noise of the moments.

    Args:
        gram: G, (n, n), float64, symmetric, positive semidefinite up to rounding.
        right: B, (n, m), float64, in the range of G up to rounding.

    Returns:
        X, (n, m); rows of inputs that are always zero are zero.
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
    """Return an upper estimate of the least eigenvalue of L Lᵀ, by inverse iteration from the index of least pivot."""
    vector = torch.zeros_like(factor[:, :1])
    vector[factor.diagonal().argmin()] = 1.0
    for _ in range(STEPS):
        vector = torch.cholesky_solve(vector / torch.linalg.vector_norm(vector), factor)
    return 1 / float(torch.linalg.vector_norm(vector))
