"""ESD, Essential Subspace Decomposition: PCA of a layer's output shift, from second moments alone.

With FᵀF = XᵀX, ΔW Fᵀ has the left singular vectors and singular values of ΔOᵀ = ΔW Xᵀ, however many tokens X has.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from esm_viz.errors import NumericsError
from esm_viz.numerics.moments import Moment
from esm_viz.numerics.singular import STRONG, descending_eigen, gram, singular
from esm_viz.numerics.spectrum import FLOOR


class Decomposition(NamedTuple):
    """Directions in output space and what each carries.

    Attributes:
        eigenvalues: λ, (min(d_out, d_in),), float64, descending, >= 0, in squared activation; the others are 0.
        vectors: E, (d_out, k), float64, orthonormal columns, signs free; only directions with λ above the rounding
            level have one, and no more than were asked for.
    """

    eigenvalues: Tensor
    vectors: Tensor


def esd(delta: Tensor, moment: Moment, most: int | None = None) -> Decomposition:
    """Decompose a task's output shift at one layer (arXiv:2602.20208, section 3; METHOD, ESD).

    Args:
        delta: ΔW_t, (d_out, d_in), float64.
        moment: of X_t, the layer's input in the fine-tuned model.
        most: how many directions to keep; all that are live where None.

    Returns:
        λ_i = eigenvalues of ΔOᵀΔO / (n−1); with a single token the divisor is 1.

    Raises:
        NumericsError: delta or moment holds a NaN or Inf.
    """
    return _principal(delta, moment.factor(), moment.divisor, most)


def svd_basis(delta: Tensor, most: int | None = None) -> Decomposition:
    """Decompose ΔW itself: the left singular vectors and squared singular values; ESD for white inputs."""
    return _principal(delta, None, 1, most)


def functional_energies(basis: Tensor, delta: Tensor, moment: Moment) -> Tensor:
    """Return u_iᵀ (ΔOᵀΔO / (n−1)) u_i for the columns u_i of a basis, (k,), in squared activation.

    Args:
        basis: orthonormal columns, (d_out, k).
        delta: ΔW_t, (d_out, d_in).
        moment: of the layer's input.
    """
    return moment.energies(basis.mT @ delta) / moment.divisor


def _principal(delta: Tensor, factor: Tensor | None, divisor: int, most: int | None) -> Decomposition:
    """Return the left singular vectors and squared singular values of ΔW Fᵀ over √divisor."""
    if not torch.isfinite(delta).all():
        raise NumericsError("the change of this layer is not finite", "check the checkpoint for NaN or Inf")
    useful = min(delta.shape)
    eigenvalues = delta.new_zeros(useful)
    scales = [part.abs().max() if part.numel() else delta.new_zeros(()) for part in (delta, factor) if part is not None]
    if not all(scales):
        return Decomposition(eigenvalues, delta.new_zeros(len(delta), 0))
    shift = delta / scales[0]  # squares of 1e-30 and 1e30 stay in range
    if factor is not None:
        shift = shift @ (factor / scales[1]).mT
    energies, vectors = _left(shift, useful if most is None else most)
    unit = torch.stack(scales).square().prod() / divisor
    eigenvalues[: len(energies)] = energies[:useful].clamp_min(0) * unit
    return Decomposition(eigenvalues, vectors)


def _left(shift: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues of shift shiftᵀ that its smaller side has, and its first live left singular vectors."""
    tall = shift.shape[0] > shift.shape[1]
    energies, vectors = descending_eigen(gram(shift if tall else shift.mT))
    live = int((energies[:most] > FLOOR * energies[0]).sum())
    if not tall:
        return energies, vectors[:, :live].contiguous()
    strong = int((energies[:live] > STRONG * energies[0]).sum())
    left = shift @ (vectors[:, :strong] / energies[:strong].sqrt())
    if strong < live:  # the squares of the others have lost digits: look at their own images
        weak = singular(shift @ vectors[:, strong:live])
        energies[strong : strong + len(weak.values)] = weak.values.square()
        left = torch.cat([left, weak.left], 1)
    return energies, left
