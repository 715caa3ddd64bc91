"""Iso-CTS: Iso-C on the strongest directions of the sum; the remaining directions are divided among the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from esm_viz.core.records import Knob, Span
from esm_viz.merge.averaging import mean_delta, total_delta
from esm_viz.merge.method_registry import LayerUpdate, Memo, merge_method, run_now
from esm_viz.merge.tsv_m import leading_triplets
from esm_viz.numerics.magnitude_selection import count_of_share
from esm_viz.numerics.polar_factor import polar

COMMON_SHARE = Knob(
    label="Common share",
    symbol="c",
    range=(0.0, 1.0, 0.05),
    wakes="product",
    text="Share of directions taken from the sum of all tasks; the rest is divided equally among tasks. 1 is Iso-C.",
    formula='<span class="m">k</span> = ⌊c · min(d<sub>out</sub>, d<sub>in</sub>)⌋ = {live}',
    write_live="{:g}".format,
)


def live_count(updates: Sequence[LayerUpdate], memo: Memo, common_share: float) -> dict[str, Span]:  # noqa: ARG001
    """Return k, the number of directions taken from the sum at a layer."""
    common, _ = _counts(updates, common_share)
    return {"common_share": (common, common)}


@merge_method(
    "iso_cts",
    title="Iso-CTS",
    source="arXiv:2502.04959",
    formula="{ΔW = mean(S) polar(U) polar(V)<sup>⊤</sup>} of the sum's first {k} triplets "
    "and each task's first triplets outside them.",
    live=live_count,
)
def iso_cts(
    updates: Sequence[LayerUpdate], memo: Memo = run_now, common_share: Annotated[float, COMMON_SHARE] = 0.8
) -> Tensor:
    """ΔW = mean(S) polar(U) polar(V)ᵀ of the sum's first k triplets and each task's first triplets outside them."""
    return memo("product", (common_share,), lambda: _common_and_specific(updates, common_share))


def _counts(updates: Sequence[LayerUpdate], common_share: float) -> tuple[int, int]:
    """Return the number of directions taken from the sum, and the number taken from each task."""
    room = min(updates[0].d_out, updates[0].d_in)
    common = count_of_share(common_share, room)
    return common, (room - common) // len(updates)


def _common_and_specific(updates: Sequence[LayerUpdate], common_share: float) -> Tensor:
    """Stack the triplets, one task at a time; if there are none, return the mean of the changes.

    The mean of S is over all requested triplets, including those with a singular value of 0.
    """
    common, specific = _counts(updates, common_share)
    if common + specific == 0:
        return mean_delta(updates)
    sizes = torch.stack([torch.linalg.vector_norm(update.delta) for update in updates])
    triplets = [leading_triplets(total_delta(updates), common, sizes.sum())]
    shared = triplets[0][0]
    for update, size in zip(updates, sizes, strict=True) if specific else ():
        delta = update.delta
        triplets.append(leading_triplets(delta - shared @ (shared.mT @ delta), specific, size))
    left, values, right = (torch.cat(parts, -1) for parts in zip(*triplets, strict=True))
    mean = values.sum() / (common + specific * len(updates))
    return mean * polar(left).factor @ polar(right).factor.mT
