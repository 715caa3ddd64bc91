"""The stability of an essential subspace: how much it changes with other or fewer proxies."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Draws, Layer, Spread, Stability
from esm_viz.numerics.essential_subspace_decomposition import svd_basis
from esm_viz.numerics.subspace_overlap import overlap
from esm_viz.stages.leading_directions import leading, rank_of, task_key
from esm_viz.stages.merge_stages import Stages
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import recorded_question

SIZES = (1, 4, 8, 16, 32)  # proxies in a draw
SEEDS = 5  # draws of each size
NONE = Spread(math.nan, math.nan, math.nan)


@recorded_question
def stability(
    project: OpenedProject, task: str, layer_name: str, recipe: Recipe, progress: Progress = NO_PROGRESS
) -> Stability:
    """Compare bases from random draws of proxies with each other and with the basis from all proxies, at rank r."""
    stages, recipe = project.stages, project.settled(recipe)
    task, layer = project.known_task(task), project.layer(layer_name)
    key = ("stability", rank_of(stages, recipe, layer), layer.name, stages.device, *task_key(stages, recipe, task))
    return stages.cache.get(key, lambda: _measure(stages, recipe, task, layer, progress))


def _measure(stages: Stages, recipe: Recipe, task: str, layer: Layer, progress: Progress) -> Stability:
    progress(0.0, f"{task}, {layer.label}: reading the proxies")
    rank, change = rank_of(stages, recipe, layer), _short(stages.delta(recipe, task, layer.name))
    shift = stages.inputs(recipe, task, layer).to(change.dtype) @ change.mT  # ΔO, (images, tokens, directions)
    everything, total = _basis(shift, rank), shift.square().sum()
    level, sizes = rank / layer.d_out, [size for size in SIZES if size < len(shift)]
    if not everything.shape[1]:
        nothing = tuple(Draws(size, NONE, NONE, NONE) for size in (*sizes, len(shift)))
        return Stability(task, layer, rank, SEEDS, nothing, math.nan, math.nan, level)

    def energy(basis: Tensor) -> float:
        return float((shift @ basis).square().sum() / total)

    measured = []
    for step, count in enumerate(sizes):
        firsts, between = [], []
        for seed in range(SEEDS):
            done = (step + seed / SEEDS) / len(sizes)
            progress(done, f"{task}, {layer.label}: drawing {count} of {len(shift)} proxies")
            order = torch.randperm(len(shift), generator=torch.Generator().manual_seed(seed)).tolist()
            firsts.append(_basis(shift[order[:count]], rank))
            if 2 * count <= len(shift):
                between.append(overlap(firsts[-1], _basis(shift[order[count : 2 * count]], rank)))
        shared = (overlap(first, everything) for first in firsts)
        measured.append(Draws(count, _spread(shared), _spread(between), _spread(map(energy, firsts))))
    # All of them can be drawn in one way only.
    measured.append(Draws(len(shift), _spread([overlap(everything, everything)]), NONE, _spread([energy(everything)])))
    plain = leading(svd_basis(change), rank)
    return Stability(task, layer, rank, SEEDS, tuple(measured), overlap(plain, everything), energy(plain), level)


def _short(delta: Tensor) -> Tensor:
    """Return R of ΔW = Q R if ΔW is tall: Q rotates all bases alike, so overlaps and energies stay the same."""
    return torch.linalg.qr(delta).R if delta.shape[0] > delta.shape[1] else delta


def _basis(shift: Tensor, rank: int) -> Tensor:
    """Return the first r directions of the output shift of some images, (images, tokens, directions)."""
    return leading(svd_basis(shift.flatten(0, 1).mT, rank), rank)


def _spread(values: Iterable[float]) -> Spread:
    found = list(values)
    return Spread(sum(found) / len(found), min(found), max(found)) if found else NONE
