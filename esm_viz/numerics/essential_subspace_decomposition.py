"""ESD, Essential Subspace Decomposition: PCA of a layer's output shift, from second moments alone.

With FᵀF = XᵀX, ΔW Fᵀ has the left singular vectors and singular values of ΔOᵀ = ΔW Xᵀ, for any number of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from esm_viz.core.errors import NumericsError
from esm_viz.numerics.eigenvalue_spectrum import FLOOR
from esm_viz.numerics.factored_change import FactoredChange
from esm_viz.numerics.gram_svd import STRONG, descending_eigen, gram, singular
from esm_viz.numerics.second_moments import Moment

_BLOCKS, _LEAST_BLOCKED = 4, 512  # of a product with a triangle: more would be too small to be quick


class Decomposition(NamedTuple):
    """Principal directions of an output shift and their eigenvalues.

    Attributes:
        eigenvalues: λ, (min(d_out, d_in),), float64, descending, >= 0, in squared activation; the others are 0.
        vectors: E, (d_out, k), float64, orthonormal columns with arbitrary signs; only directions with λ above the
            noise floor, and at most the requested number.
    """

    eigenvalues: Tensor
    vectors: Tensor


def esd(delta: Tensor, moment: Moment, most: int | None = None) -> Decomposition:
    """Decompose a task's output shift at one layer (arXiv:2602.20208, section 3; METHOD, ESD).

    Args:
        delta: ΔW_t, (d_out, d_in), float64.
        moment: second moment of X_t, the layer's input in the expert.
        most: largest number of directions; by default all above the noise floor.

    Returns:
        λ_i = eigenvalues of ΔOᵀΔO / (n−1); with a single token the divisor is 1.

    Raises:
        NumericsError: delta or moment holds a NaN or Inf.
    """
    return esd_of_all([delta], [moment], most)[0]


def esd_of_all(deltas: Sequence[Tensor], moments: Sequence[Moment], most: int | None = None) -> list[Decomposition]:
    """Decompose several tasks' output shifts at one layer; on a GPU, equal sizes are computed as one batch.

    Args:
        deltas: ΔW_t, (d_out, d_in) each, float64.
        moments: second moments of X_t.
        most: largest number of directions of each task; by default all above the noise floor.

    Raises:
        NumericsError: one of them holds a NaN or Inf.
    """
    factors = [moment.factor() for moment in moments]
    return _principal(deltas, factors, [moment.divisor for moment in moments], most)


def svd_basis(delta: Tensor, most: int | None = None) -> Decomposition:
    """Return the left singular vectors and squared singular values of ΔW itself, which are ESD for white inputs."""
    return _principal([delta], None, [1], most)[0]


def esd_of_factors(change: FactoredChange, moment: Moment | None, most: int | None = None) -> Decomposition:
    """Decompose the output shift of ΔW = B A, with eigenproblems of the size of its rank r.

    With B = Q R, ΔW Xᵀ = Q (R A Xᵀ): the directions are Q times those of the r outputs of R A.

    Args:
        change: ΔW_t by its factors, (d_out, d_in).
        moment: second moment of X_t; None to decompose ΔW itself, as `svd_basis` does.
        most: largest number of directions; by default all above the noise floor.

    Raises:
        NumericsError: a factor or the moment holds a NaN or Inf.
    """
    useful = min(change.left.shape[0], change.right.shape[1])
    eigenvalues = change.left.new_zeros(useful)
    if not change.rank:
        return Decomposition(eigenvalues, change.left)
    outer, inner = torch.linalg.qr(change.left)
    small = inner @ change.right
    if moment is None or moment.square is None:
        shift = small if moment is None else moment.seen(small)
        unit = _scale(shift)
        thin = _divided(shift, unit)
        product = gram(thin if _tall(thin) else thin.mT)
        strength = unit.square() / (moment.divisor if moment else 1)
    else:
        unit, scale = _scale(small), _scale(moment.square)
        thin = _divided(small, unit)
        product = thin @ _divided(moment.square, scale) @ thin.mT
        strength = unit.square() * scale / moment.divisor
    found = _leading(thin, *descending_eigen(product), strength, min(small.shape), most)
    eigenvalues[: len(found.eigenvalues)] = found.eigenvalues
    return Decomposition(eigenvalues, outer @ found.vectors)


def functional_energies(basis: Tensor, delta: Tensor, moment: Moment) -> Tensor:
    """Return u_iᵀ (ΔOᵀΔO / (n−1)) u_i for the columns u_i of a basis, (k,), in squared activation.

    Args:
        basis: orthonormal columns, (d_out, k).
        delta: ΔW_t, (d_out, d_in).
        moment: second moment of the layer's input.
    """
    return moment.energies(basis.mT @ delta) / moment.divisor


def _principal(
    deltas: Sequence[Tensor], factors: Sequence[Tensor] | None, divisors: Sequence[int], most: int | None
) -> list[Decomposition]:
    """Return the left singular vectors and squared singular values of every ΔW Fᵀ over √divisor."""
    units = [_scale(delta) for delta in deltas]
    shifts: Sequence[Tensor] = list(map(_divided, deltas, units))
    if factors is not None:
        scales = [_scale(factor) for factor in factors]
        shifts = _together(_through, shifts, list(map(_divided, factors, scales)))
        units = [unit * scale for unit, scale in zip(units, scales, strict=True)]
    products = _together(gram, [shift if _tall(shift) else shift.mT for shift in shifts])
    return [
        _leading(shift, *eigen, unit.square() / divisor, min(delta.shape), most)
        for shift, eigen, unit, divisor, delta in zip(
            shifts, _eigen_of_all(products), units, divisors, deltas, strict=True
        )
    ]


def _tall(shift: Tensor) -> bool:
    """Say whether a task's shift has fewer tokens than outputs: its smaller Gram matrix is then that of the tokens."""
    return shift.shape[0] > shift.shape[1]


def _leading(
    shift: Tensor, energies: Tensor, vectors: Tensor, unit: Tensor, useful: int, most: int | None
) -> Decomposition:
    """Return the first left singular vectors of a shift, from the eigenvectors of its smaller Gram matrix."""
    live = int((energies[: useful if most is None else most] > FLOOR * energies[0]).sum()) if len(energies) else 0
    left = vectors[:, :live].contiguous()
    if _tall(shift):
        strong = int((energies[:live] > STRONG * energies[:1]).sum())
        left = shift @ (vectors[:, :strong] / energies[:strong].sqrt())
        if strong < live:  # squaring lost digits of the small ones, so recompute them from their images
            weak = singular(shift @ vectors[:, strong:live])
            energies[strong : strong + len(weak.values)] = weak.values.square()
            left = torch.cat([left, weak.left], 1)
    eigenvalues = shift.new_zeros(useful)
    eigenvalues[: len(energies)] = energies[:useful].clamp_min(0) * unit
    return Decomposition(eigenvalues, left)


def _scale(matrix: Tensor) -> Tensor:
    """Return a divisor that keeps the squares of a matrix in range: its largest entry if that is extreme, else 1."""
    largest = torch.linalg.vector_norm(matrix, torch.inf) if matrix.numel() else matrix.new_zeros(())
    if not torch.isfinite(largest):
        raise NumericsError("the change of this layer is not finite", "check the checkpoint for NaN or Inf")
    ordinary = largest == 0 or 1e-20 < float(largest) < 1e20
    return torch.ones_like(largest) if ordinary else largest


def _divided(matrix: Tensor, scale: Tensor) -> Tensor:
    return matrix if scale == 1 else matrix / scale


def _through(delta: Tensor, factor: Tensor) -> Tensor:
    """Return ΔW Fᵀ; skips the zeros below the diagonal of a square F, which is triangular."""
    n = factor.shape[-1]
    if n < _LEAST_BLOCKED or factor.shape[-2] != n or delta.is_cuda or factor.tril(-1).any():
        return delta @ factor.mT
    edges = [n * at // _BLOCKS for at in range(_BLOCKS + 1)]
    shift = delta.new_empty(delta.shape)
    for start, end in pairwise(edges):
        torch.matmul(delta[:, start:], factor[start:end, start:].mT, out=shift[:, start:end])
    return shift


def _together(function: Callable[..., Tensor], *arguments: Sequence[Tensor]) -> Sequence[Tensor]:
    """Apply a function to each task's tensors, as one batch if they are on a GPU and have one shape."""
    if all(map(_batched, arguments)):
        return function(*(torch.stack(list(each)) for each in arguments)).unbind()
    return [function(*each) for each in zip(*arguments, strict=True)]


def _eigen_of_all(products: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    if _batched(products):
        values, vectors = descending_eigen(torch.stack(list(products)))
        return list(zip(values.unbind(), vectors.unbind(), strict=True))
    return [descending_eigen(product) for product in products]


def _batched(tensors: Sequence[Tensor]) -> bool:
    return tensors[0].is_cuda and len({one.shape for one in tensors}) == 1
