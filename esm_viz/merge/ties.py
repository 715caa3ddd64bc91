"""TIES: trim each task's change to its largest entries, elect a sign for every entry, average those that agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from esm_viz.core.records import Knob, Span
from esm_viz.merge.method_registry import LayerUpdate, Memo, merge_method, run_now

KEEP = Knob(
    label="Keep",
    symbol="k",
    range=(0.01, 1.0, 0.01),
    wakes="product",
    text="The share of each task's entries that is kept, largest first over all its parameters.",
    formula="kept where |ΔW<sub>t</sub>| ≥ {live}",
    write_live="{:.2g}".format,
    no_effect=lambda now: "No effect: every entry is kept." if now.value == 1 else "",
)


def find_cutoff(update: LayerUpdate, keep: float) -> float:
    """Return the smallest magnitude of a task's kept entries; this reads the task's whole change."""
    return update.cutoff(keep)


def live_cutoffs(updates: Sequence[LayerUpdate], memo: Memo, keep: float) -> dict[str, Span]:  # noqa: ARG001
    """Return the least and greatest over tasks of the smallest kept magnitude."""
    cutoffs = [update.cutoff(keep) for update in updates]
    return {"keep": (min(cutoffs), max(cutoffs))}


@merge_method(
    "ties",
    title="TIES",
    source="arXiv:2306.01708",
    formula="{ΔW} = mean over tasks of the kept entries that have the sign of their sum.",
    survey=find_cutoff,
    live=live_cutoffs,
    every_parameter=True,
)
def ties(updates: Sequence[LayerUpdate], memo: Memo = run_now, keep: Annotated[float, KEEP] = 0.2) -> Tensor:
    """ΔW = mean over tasks of the kept entries that have the sign of their sum."""
    return memo("product", (keep,), lambda: _disjoint_mean(updates, keep))


def _disjoint_mean(updates: Sequence[LayerUpdate], keep: float) -> Tensor:
    """Trim, elect signs and average in one pass over the tasks, with separate sums and counts for both signs.

    Entries equal to the smallest kept magnitude are all kept, so the result does not depend on their order; zeros are
    never kept. If both signs have equal sums, up to rounding, no sign is elected and ΔW is 0.
    """
    zeros = torch.zeros_like(updates[0].delta)
    up, down, ups, downs = zeros, zeros.clone(), zeros.clone(), zeros.clone()
    for update in updates:
        delta = update.delta
        kept = torch.where(delta.abs() >= update.cutoff(keep), delta, 0.0)
        up += kept.clamp_min(0.0)
        down -= kept.clamp_max(0.0)
        ups += kept > 0
        downs += kept < 0
    elected = torch.where(up > down, up / ups.clamp_min(1), -down / downs.clamp_min(1))
    equal = (up - down).abs() <= len(updates) * torch.finfo(up.dtype).eps * torch.maximum(up, down)
    return torch.where(equal, 0.0, elected)
