"""ESD, Essential Subspace Decomposition: PCA of a layer's output shift, from second moments alone.

ΔO = X ΔWᵀ is never formed. With M = XᵀX, the uncentred covariance is ΔOᵀΔO / (n−1) = ΔW M ΔWᵀ / (n−1), and its range
lies in the range of ΔW, so the eigenproblem has the side min(d_out, d_in).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from esm_viz.errors import NumericsError


class Moment(NamedTuple):
    """Second moment of a layer's input: M = XᵀX, (d_in, d_in), float64, over n tokens, and their mean (d_in,)."""

    matrix: Tensor
    tokens: int
    mean: Tensor


class Decomposition(NamedTuple):
    """Directions in output space and what each carries, k = min(d_out, d_in) of them.

    Attributes:
        eigenvalues: λ, (k,), float64, descending, >= 0, in squared activation; the other d_out − k are 0.
        vectors: E, (d_out, k), float64, orthonormal columns; signs are free.
    """

    eigenvalues: Tensor
    vectors: Tensor


def esd(delta: Tensor, moment: Moment) -> Decomposition:
    """Decompose a task's output shift at one layer (arXiv:2602.20208, section 3; METHOD, ESD).

    Args:
        delta: ΔW_t, (d_out, d_in), float64.
        moment: of X_t, the layer's input in the fine-tuned model.

    Returns:
        λ_i = eigenvalues of ΔOᵀΔO / (n−1); with a single token the divisor is 1.

    Raises:
        NumericsError: delta or moment holds a NaN or Inf.
    """
    divisor = max(moment.tokens - 1, 1)
    return _principal(delta, lambda rows: rows @ moment.matrix @ rows.mT / divisor)


def svd_basis(delta: Tensor) -> Decomposition:
    """Decompose ΔW itself: the left singular vectors and squared singular values; ESD for white inputs."""
    return _principal(delta, lambda rows: rows @ rows.mT)


def functional_energies(basis: Tensor, delta: Tensor, moment: Moment) -> Tensor:
    """Return u_iᵀ (ΔOᵀΔO / (n−1)) u_i for the columns u_i of a basis, (k,), in squared activation.

    Args:
        basis: orthonormal columns, (d_out, k).
        delta: ΔW_t, (d_out, d_in).
        moment: of the layer's input.
    """
    coordinates = basis.mT @ delta
    return ((coordinates @ moment.matrix) * coordinates).sum(1) / max(moment.tokens - 1, 1)


def _principal(delta: Tensor, gram_of_rows: Callable[[Tensor], Tensor]) -> Decomposition:
    """Diagonalise gram_of_rows(ΔW), through ΔW = Q R on the smaller side when ΔW is tall."""
    if not torch.isfinite(delta).all():
        raise NumericsError("the change of this layer is not finite", "check the checkpoint for NaN or Inf")
    scale = delta.abs().max()
    if scale == 0:
        d_out, k = len(delta), min(delta.shape)
        return Decomposition(delta.new_zeros(k), torch.eye(d_out, k, dtype=delta.dtype, device=delta.device))
    unit = delta / scale  # squares of 1e-30 and 1e30 stay in range
    tall = delta.shape[0] > delta.shape[1]
    frame, rows = torch.linalg.qr(unit) if tall else (None, unit)
    gram = gram_of_rows(rows)
    if not torch.isfinite(gram).all():
        raise NumericsError("the second moment of this layer is not finite", "check the proxies and the checkpoint")
    eigenvalues, vectors = torch.linalg.eigh((gram + gram.mT) / 2)
    eigenvalues, vectors = eigenvalues.flip(0).clamp_min(0) * scale**2, vectors.flip(1)
    return Decomposition(eigenvalues, frame @ vectors if frame is not None else vectors)
