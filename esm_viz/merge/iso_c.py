"""Iso-C: add the tasks' changes, and set all singular values of the sum to their mean."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from esm_viz.merge.averaging import total_delta
from esm_viz.merge.method_registry import LayerUpdate, Memo, merge_method, run_now
from esm_viz.numerics.polar_factor import orthogonalized


@merge_method(
    "iso_c",
    title="Iso-C",
    source="arXiv:2502.04959",
    formula="{ΔW = mean(S) U V<sup>⊤</sup>} of {Σ<sub>t</sub> ΔW<sub>t</sub> = U S V<sup>⊤</sup>}; "
    "zero singular values stay zero, and count in the mean.",
)
def iso_c(updates: Sequence[LayerUpdate], memo: Memo = run_now) -> Tensor:
    """ΔW = mean(S) U Vᵀ of Σ_t ΔW_t = U S Vᵀ; zero singular values stay zero, and count in the mean."""
    return memo("product", (), lambda: orthogonalized(total_delta(updates)))
