"""Whether other proxies, or fewer, would have given the same essential subspace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from esm_viz.explore.subspaces import leading, rank_of, task_key
from esm_viz.numerics.decompose import esd, functional_energies
from esm_viz.numerics.moments import Moment, MomentSum
from esm_viz.numerics.subspace import overlap
from esm_viz.recipe import Recipe
from esm_viz.stages import Stages
from esm_viz.types import Draws, Layer, Report, Spread, Stability, silent

SIZES = (1, 4, 8, 16, 32)  # proxies in a draw
SEEDS = 5  # draws of each size
NONE = Spread(math.nan, math.nan, math.nan)


def stability(stages: Stages, recipe: Recipe, task: str, layer: Layer, report: Report = silent) -> Stability:
    """Compare bases of a few proxies with each other and with that of all, at rank r."""
    key = ("stability", rank_of(recipe, layer), layer.name, stages.device, *task_key(stages, recipe, task))
    return stages.cache.get(key, lambda: _measure(stages, recipe, task, layer, report))


def _measure(stages: Stages, recipe: Recipe, task: str, layer: Layer, report: Report) -> Stability:
    report(0.0, f"{task}, {layer.label}: reading the proxies")
    rank, delta = rank_of(recipe, layer), stages.delta(recipe, task, layer.name)
    inputs = stages.inputs(recipe, task, layer)
    everything = leading(stages.decomposition(recipe, task, layer), rank)
    level, sizes = rank / layer.d_out, [size for size in SIZES if size < len(inputs)]
    if not everything.shape[1]:
        nothing = tuple(Draws(size, NONE, NONE, NONE) for size in (*sizes, len(inputs)))
        return Stability(task, layer, rank, SEEDS, nothing, math.nan, math.nan, level)
    whole = _moment(inputs, layer)
    total = float(whole.energies(delta).sum()) / whole.divisor

    def basis(images: Sequence[int]) -> Tensor:
        return leading(esd(delta, _moment(inputs[list(images)], layer), rank), rank)

    def energy(found: Tensor) -> float:
        return float(functional_energies(found, delta, whole).sum()) / total

    measured = []
    for step, count in enumerate(sizes):
        firsts, between = [], []
        for seed in range(SEEDS):
            done = (step + seed / SEEDS) / len(sizes)
            report(done, f"{task}, {layer.label}: drawing {count} of {len(inputs)} proxies")
            order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed)).tolist()
            firsts.append(basis(order[:count]))
            if 2 * count <= len(inputs):
                between.append(overlap(firsts[-1], basis(order[count : 2 * count])))
        shared = (overlap(first, everything) for first in firsts)
        measured.append(Draws(count, _spread(shared), _spread(between), _spread(map(energy, firsts))))
    # All of them can be drawn in one way only.
    measured.append(Draws(len(inputs), _spread([overlap(everything, everything)]), NONE, _spread([energy(everything)])))
    plain = leading(stages.svd(recipe, task, layer), rank)
    return Stability(task, layer, rank, SEEDS, tuple(measured), overlap(plain, everything), energy(plain), level)


def _moment(images: Tensor, layer: Layer) -> Moment:
    total = MomentSum(layer.d_in, layer.d_out, str(images.device))
    total.add(images)
    return total.moment()


def _spread(values: Iterable[float]) -> Spread:
    found = list(values)
    return Spread(sum(found) / len(found), min(found), max(found)) if found else NONE
