"""Task Arithmetic: the sum of the tasks' changes, scaled by α."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from esm_viz.merge.averaging import total_delta
from esm_viz.merge.method_registry import LayerUpdate, Memo, Preset, merge_method, run_now


@merge_method(
    "task_arithmetic",
    title="Task Arithmetic",
    source="arXiv:2212.04089",
    formula="{ΔW = Σ<sub>t</sub> ΔW<sub>t</sub>}, scaled by {α}.",
    presets=[Preset("the sum, α 0.3", {"alpha": 0.3})],
    every_parameter=True,
)
def task_arithmetic(updates: Sequence[LayerUpdate], memo: Memo = run_now) -> Tensor:
    """ΔW = Σ_t ΔW_t, scaled by α."""
    return memo("product", (), lambda: total_delta(updates))
