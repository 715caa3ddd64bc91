"""Label-free interference of a merge, from second moments alone.

For task t at one layer, ‖X_t (fΔW − ΔW_t)ᵀ‖² / ‖X_t ΔW_tᵀ‖² = (f² a − 2 f b + c) / c with a = tr(ΔW M_t ΔWᵀ),
b = tr(ΔW M_t ΔW_tᵀ), c = tr(ΔW_t M_t ΔW_tᵀ). From a, b and c, interference at any scale f (α times the inter-layer
factor) follows at once. a is the inner product of ΔWᵀΔW, equal for all tasks, with M_t; b is that of ΔW with ΔW_t M_t,
which depends on no knob. So a changed knob costs one matrix product per layer for all tasks together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from esm_viz.numerics.second_moments import Moment


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


def pull(merged: Tensor, product: Tensor, own: Shift, moment: Moment) -> Pull:
    """Measure a merge on one task's tokens.

    Args:
        merged: ΔW, (d_out, d_in), float64.
        product: ΔWᵀΔW, (d_in, d_in), float64.
        own: the task's own shift.
        moment: M_t = X_tᵀX_t.
    """
    energy = moment.energies(merged).sum() if moment.square is None else _inner(product, moment.square)
    return Pull(float(energy), float(_inner(merged, own.through)), own.energy)


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
