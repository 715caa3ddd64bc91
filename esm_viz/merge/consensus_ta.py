"""Consensus Task Arithmetic: add the tasks' changes, but only in entries that at least two tasks claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from esm_viz.core.records import Knob, Span
from esm_viz.merge.averaging import total_delta
from esm_viz.merge.method_registry import LayerUpdate, Memo, merge_method, run_now

MASK_SCALE = Knob(
    label="Mask",
    symbol="λ",
    range=(0.2, 0.6, 0.05),
    wakes="product",
    text="How large a task's entry must be, relative to the sum of all other tasks', for the task to claim it.",
    formula="claimed by two tasks: {live}",
    write_live=lambda share: f"{100 * share:.0f} %",
    no_effect=lambda now: "No effect: two tasks claim every entry." if now.effect == (1.0, 1.0) else "",
)
CONSENSUS = 2  # tasks that must claim an entry
ROUNDING = 1e-12  # tolerance for rounding of the sum: three equal tasks must all claim at λ = 0.5


class Claimed(NamedTuple):
    """ΔW, float64, and the share of its entries that enough tasks claim."""

    product: Tensor
    share: float


def live_share(updates: Sequence[LayerUpdate], memo: Memo, mask_scale: float) -> dict[str, Span]:
    """Return the share of a layer's entries that at least two tasks claim."""
    share = _stage(updates, memo, mask_scale).share
    return {"mask_scale": (share, share)}


@merge_method(
    "consensus_ta",
    title="Consensus TA",
    source="arXiv:2405.07813",
    formula="{ΔW = Σ<sub>t</sub> ΔW<sub>t</sub>} in the entries that at least two tasks claim, 0 in the others.",
    live=live_share,
    every_parameter=True,
)
def consensus_ta(
    updates: Sequence[LayerUpdate], memo: Memo = run_now, mask_scale: Annotated[float, MASK_SCALE] = 0.4
) -> Tensor:
    """ΔW = Σ_t ΔW_t in the entries that at least two tasks claim, 0 in the others."""
    return _stage(updates, memo, mask_scale).product


def _stage(updates: Sequence[LayerUpdate], memo: Memo, mask_scale: float) -> Claimed:
    return memo("product", (mask_scale,), lambda: _claimed(updates, mask_scale))


def _claimed(updates: Sequence[LayerUpdate], mask_scale: float) -> Claimed:
    """Sum in a first pass over the tasks, count claims in a second; all tasks have the same λ.

    With a single task, its own claim is enough: T = 1 gives its change.
    """
    total = total_delta(updates)
    claims = torch.zeros_like(total)
    for update in updates:
        delta = update.delta
        claims += delta.abs() >= (total - delta).abs() * (mask_scale * (1 - ROUNDING))
    enough = claims >= min(CONSENSUS, len(updates))
    return Claimed(torch.where(enough, total, 0.0), float(enough.double().mean()))
