"""A method that is not registered: tests put a copy of this file beside the others, and edit nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from esm_viz.core.records import Knob, Span
from esm_viz.merge.averaging import total_delta
from esm_viz.merge.method_registry import LayerUpdate, Memo, Preset, merge_method, run_now

AGREEMENT_POWER = Knob(
    label="Agreement power",
    symbol="p<sub>agree</sub>",
    range=(0.0, 4.0, 0.5),
    wakes="product",
    text="Makes entries that all tasks move the same way count more.",
    formula="(|Σ<sub>t</sub> ΔW<sub>t</sub>| / Σ<sub>t</sub> |ΔW<sub>t</sub>|)<sup>p</sup> at p = {value}: {live}",
    no_effect=lambda now: "No effect: agreement does not count." if now.value == 0 else "",
    write_live="{:.3f}".format,
    folded=True,
)


def live_agreement(updates: Sequence[LayerUpdate], memo: Memo, agreement_power: float) -> dict[str, Span]:
    """Return the mean factor of a layer's entries."""
    mean = float(_agreement(updates).pow(agreement_power).mean())
    return {"agreement_power": (mean, mean)}


@merge_method(
    "agreement",
    title="Agreement",
    source="arXiv:0000.00000",
    live=live_agreement,
    presets=[
        Preset("agreement once"),
        Preset("agreement squared, α 1", {"agreement_power": 2.0, "alpha": 1.0}, "agreement_2", "Agreement, p = 2"),
    ],
    searches_alpha=False,
)
def agreement(
    updates: Sequence[LayerUpdate], memo: Memo = run_now, agreement_power: Annotated[float, AGREEMENT_POWER] = 1.0
) -> Tensor:
    """ΔW = Σ_t ΔW_t, each entry times its agreement between tasks."""
    return memo("product", (agreement_power,), lambda: total_delta(updates) * _agreement(updates).pow(agreement_power))


def _agreement(updates: Sequence[LayerUpdate]) -> Tensor:
    sizes = torch.zeros_like(updates[0].delta)
    for update in updates:
        sizes += update.delta.abs()
    return torch.where(sizes > 0, total_delta(updates).abs() / sizes, 1.0).clamp_max(1.0)
