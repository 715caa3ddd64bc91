"""Label-free interference of a merge, from second moments alone.

For task t at one layer, ‖X_t (fΔW − ΔW_t)ᵀ‖² / ‖X_t ΔW_tᵀ‖² = (f² a − 2 f b + c) / c with a = tr(ΔW M_t ΔWᵀ),
b = tr(ΔW M_t ΔW_tᵀ), c = tr(ΔW_t M_t ΔW_tᵀ): once a, b, c are known, every scale f (α, the inter-layer level) is free.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class Pull(NamedTuple):
    """a, b, c above: the merge's energy on task t's tokens, its product with t's own shift, that shift's energy."""

    merged: float
    shared: float
    own: float


def pull(merged: Tensor, own: Tensor, moment: Tensor) -> Pull:
    """Measure a merge on one task's tokens.

    Args:
        merged: ΔW, (d_out, d_in), float64.
        own: ΔW_t, (d_out, d_in), float64.
        moment: M_t = X_tᵀX_t, (d_in, d_in), float64.
    """
    through = merged @ moment
    return Pull(float((through * merged).sum()), float((through * own).sum()), float(((own @ moment) * own).sum()))


def interference(measured: Pull, scale: float) -> float:
    """Return the relative squared error at f · ΔW; NaN where the task moved nothing there.

    Args:
        measured: of the merge at scale 1.
        scale: f, α times the inter-layer factor.
    """
    if not measured.own > 0:
        return math.nan
    error = scale * scale * measured.merged - 2 * scale * measured.shared + measured.own
    return max(error, 0.0) / measured.own
