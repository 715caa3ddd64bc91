"""Label-free interference of a merge, from second moments alone.

For task t at one layer, ‖X_t (fΔW − ΔW_t)ᵀ‖² / ‖X_t ΔW_tᵀ‖² = (f² a − 2 f b + c) / c with a = tr(ΔW M_t ΔWᵀ),
b = tr(ΔW M_t ΔW_tᵀ), c = tr(ΔW_t M_t ΔW_tᵀ). From a, b and c, interference at any scale f (α times the inter-layer
factor) follows at once. a is the inner product of ΔWᵀΔW, equal for all tasks, with M_t; b is that of ΔW with ΔW_t M_t,
which depends on no knob. So a changed knob costs one matrix product per layer for all tasks together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from esm_viz.numerics.factored_change import FactoredChange
from esm_viz.numerics.gram_svd import gram, half_gram
from esm_viz.numerics.second_moments import HalfMoment, Moment


class Shift(NamedTuple):
    """A task's own shift on its own tokens: ΔW_t M_t, (d_out, d_in), and its energy c = tr(ΔW_t M_t ΔW_tᵀ)."""

    through: Tensor
    energy: float


class Pull(NamedTuple):
    """a, b, c above: energy of the merge on task t's tokens, its product with t's own shift, energy of that shift."""

    merged: float
    shared: float
    own: float


def shift(own: Tensor, moment: Moment) -> Shift:
    """Measure a task's own change on its tokens.

    Args:
        own: ΔW_t, (d_out, d_in), float64.
        moment: M_t = X_tᵀX_t.
    """
    through = moment.times(own)
    return Shift(through, float((through * own).sum()))


def shift_of_factors(change: FactoredChange, moment: Moment) -> Shift:
    """Measure a task's own change by its factors on its tokens.

    Args:
        change: ΔW_t = B A, (d_out, d_in).
        moment: M_t = X_tᵀX_t.
    """
    if not change.rank:
        return Shift(change.dense(), 0.0)
    through = moment.times(change.right)  # A M, so that c = tr(BᵀB A M Aᵀ)
    energy = (gram(change.left) * (through @ change.right.mT)).sum()
    return Shift(change.left @ through, float(energy))


def pull(merged: Tensor, product: Tensor | None, own: Shift, moment: Moment | HalfMoment) -> Pull:
    """Measure a merge on one task's tokens.

    Args:
        merged: ΔW, (d_out, d_in), float64.
        product: ΔWᵀΔW, (d_in, d_in), for a moment that holds M; `half_gram` of ΔW for half a moment; else not read.
        own: the task's own shift.
        moment: M_t = X_tᵀX_t.
    """
    symmetric = moment.entries if isinstance(moment, HalfMoment) else moment.square
    if symmetric is not None and product is not None:
        energy = _inner(product, symmetric)
    else:
        assert isinstance(moment, Moment)  # half a moment comes with a product
        energy = moment.energies(merged).sum()
    return Pull(float(energy), float(_inner(merged, own.through)), own.energy)


def pulls(merged: Tensor, shifts: Sequence[Shift], moments: Sequence[Moment | HalfMoment]) -> tuple[Pull, ...]:
    """Measure a merge on every task's tokens. ΔWᵀΔW is formed only where a moment holds M or half of it.

    Products are float64. If the mean of the tokens is 100 times longer than what they differ by, and ΔW does not see
    it, products in float32 put a wrong by 1e-4: the large parts cancel, their rounding does not.

    Args:
        merged: ΔW, (d_out, d_in), float64.
        shifts: the tasks' own shifts.
        moments: M_t of each task.
    """
    squares = any(isinstance(moment, Moment) and moment.square is not None for moment in moments)
    whole = gram(merged) if squares else None
    half = half_gram(merged) if any(isinstance(moment, HalfMoment) for moment in moments) else None
    return tuple(
        pull(merged, half if isinstance(moment, HalfMoment) else whole, own, moment)
        for own, moment in zip(shifts, moments, strict=True)
    )


def worth_halves(moments: Sequence[Moment]) -> bool:
    """Say whether `half_moment` should replace those moments of one layer that keep X, if there is memory for it.

    ΔWᵀΔW costs half of d_out d_in² multiplications for all tasks together, X_t ΔWᵀ costs n_t d_out d_in for each. From
    2 d_in tokens on it is four times cheaper, which pays for forming every M_t after about three merges.
    """
    rows = [moment.rows for moment in moments if moment.rows is not None]
    return bool(rows) and sum(len(one) for one in rows) >= 2 * rows[0].shape[1]


def _inner(left: Tensor, right: Tensor) -> Tensor:
    return torch.dot(left.reshape(-1), right.reshape(-1))


def interference(measured: Pull, scale: float) -> float:
    """Return the relative squared error at f · ΔW; NaN if the task did not change the layer.

    Args:
        measured: measures of the merge at scale 1.
        scale: f, α times the inter-layer factor.
    """
    if not measured.own > 0:
        return math.nan
    error = scale * scale * measured.merged - 2 * scale * measured.shared + measured.own
    return max(error, 0.0) / measured.own


def direction(measured: Pull) -> float:
    """Return ⟨ΔW, ΔW_t⟩_M / (‖ΔW‖_M ‖ΔW_t‖_M) with M = M_t, in [−1, 1]; NaN if either is 0.

    It does not depend on a positive scale. Interference is 1 − 2 s c + s², with direction c and size s.
    """
    if not (measured.own > 0 and measured.merged > 0):
        return math.nan
    return max(-1.0, min(1.0, measured.shared / math.sqrt(measured.merged * measured.own)))


def size(measured: Pull, scale: float) -> float:
    """Return ‖f ΔW‖_M / ‖ΔW_t‖_M with M = M_t: over 1, the merge overshoots the task's own change; NaN if that is 0.

    Args:
        measured: measures of the merge at scale 1.
        scale: f, α times the inter-layer factor.
    """
    return abs(scale) * math.sqrt(max(measured.merged, 0.0) / measured.own) if measured.own > 0 else math.nan
