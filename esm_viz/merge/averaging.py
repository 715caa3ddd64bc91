"""Averaging: the mean of the tasks' changes; most methods also use it for vectors and convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from esm_viz.merge.method_registry import LayerUpdate, Memo, Preset, merge_method, run_now


@merge_method(
    "averaging",
    title="Averaging",
    source="arXiv:2203.05482",
    formula="{ΔW = mean<sub>t</sub> ΔW<sub>t</sub>}, at {α = 1}.",
    presets=[Preset("the mean of all, α 1", {"alpha": 1.0})],
    searches_alpha=False,
)
def averaging(updates: Sequence[LayerUpdate], memo: Memo = run_now) -> Tensor:
    """ΔW = mean_t ΔW_t, at α = 1."""
    return memo("product", (), lambda: mean_delta(updates))


def mean_delta(updates: Sequence[LayerUpdate]) -> Tensor:
    """Return mean_t ΔW_t; any shape."""
    return total_delta(updates) / len(updates)


def total_delta(updates: Sequence[LayerUpdate]) -> Tensor:
    """Return Σ_t ΔW_t, summed one task at a time; any shape."""
    total = updates[0].delta.clone()
    for update in updates[1:]:
        total += update.delta
    return total
