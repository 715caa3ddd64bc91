"""Where the tasks' updates live: spectra, ranks, overlaps and angles of essential subspaces."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import combinations

import torch
from torch import Tensor

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Angles, Layer, LayerMap, Overlap, Report, Spectrum, silent
from esm_viz.merge.method_registry import METHODS
from esm_viz.numerics.eigenvalue_spectrum import cumulative_energy, live_directions, rank_for_energy, rank_of_ratio
from esm_viz.numerics.essential_subspace_decomposition import Decomposition, functional_energies
from esm_viz.numerics.subspace_overlap import overlap, principal_angles, random_subspace
from esm_viz.stages.merge_stages import Stages

MAP_KINDS = ("rank90", "energy", "norm", "overlap")
SHARE = 0.9  # of the energy, in the rank map
_RANDOM_SEED = 0  # of the random subspaces that angles are compared with


def rank_of(recipe: Recipe, layer: Layer) -> int:
    """Return r at a layer; methods without the rank knob are shown at ρ = 1."""
    knob = METHODS[recipe.method].roles.get("rank")
    return rank_of_ratio(float(recipe.parameters[knob]) if knob else 1.0, layer.d_out, len(recipe.models))


def spectrum(stages: Stages, recipe: Recipe, task: str, layer: Layer) -> Spectrum:
    """Return eigenvalues and the energy kept by ESD's and by SVD's first k directions, k = 1..d_out."""
    decomposition = stages.decomposition(recipe, task, layer)
    moment, delta = stages.moment(recipe, task, layer), stages.delta(recipe, task, layer.name)
    plain = functional_energies(stages.svd(recipe, task, layer).vectors, delta, moment)
    eigenvalues = _padded(decomposition.eigenvalues, layer.d_out)
    return Spectrum(
        task=task,
        layer=layer,
        eigenvalues=tuple(eigenvalues.tolist()),
        energy=tuple(cumulative_energy(eigenvalues).tolist()),
        energy_svd=tuple(cumulative_energy(_padded(plain, layer.d_out)).tolist()),
        rank=rank_of(recipe, layer),
    )


def leading(decomposition: Decomposition, rank: int) -> Tensor:
    """Return Ê, the first r directions that carry energy, (d_out, <= r)."""
    live = int(live_directions(decomposition.eigenvalues[:rank]).sum())  # descending: what lives comes first
    return decomposition.vectors[:, :live]


def overlaps(stages: Stages, recipe: Recipe, layer: Layer) -> Overlap:
    """Return the overlap of any two tasks' essential subspaces at rank r."""
    rank = rank_of(recipe, layer)
    key = ("overlap", rank, layer.name, stages.device, *decomposed(stages, recipe))

    def compute() -> tuple[tuple[float, ...], ...]:
        bases = [leading(stages.decomposition(recipe, task, layer), rank) for task in recipe.tasks]
        return tuple(tuple(overlap(left, right) for right in bases) for left in bases)

    return Overlap(layer, recipe.tasks, stages.cache.get(key, compute), rank / layer.d_out, rank)


def angles(stages: Stages, recipe: Recipe, layer: Layer, tasks: tuple[str, str]) -> Angles:
    """Return the principal angles between two tasks' essential subspaces, and those of two random ones of that size."""
    rank = rank_of(recipe, layer)
    key = ("angles", rank, layer.name, stages.device, *(task_key(stages, recipe, task) for task in tasks))

    def compute() -> tuple[tuple[float, ...], tuple[float, ...]]:
        left, right = (leading(stages.decomposition(recipe, task, layer), rank) for task in tasks)
        random = random_angles(stages, layer.d_out, (left.shape[1], right.shape[1]))
        return tuple(principal_angles(left, right).tolist()), random

    return Angles(layer, tasks, *stages.cache.get(key, compute))


def random_angles(stages: Stages, d_out: int, sizes: tuple[int, int]) -> tuple[float, ...]:
    """Return the principal angles of two random subspaces, one seeded draw that all layers of that shape share."""

    def compute() -> tuple[float, ...]:
        left, right = (random_subspace(d_out, size, _RANDOM_SEED + at) for at, size in enumerate(sizes))
        return tuple(principal_angles(left, right).tolist())

    return stages.cache.get(("random angles", d_out, sizes), compute)


def layer_map(stages: Stages, recipe: Recipe, kind: str, report: Report = silent) -> LayerMap:
    """Return one number a task and layer.

    Raises:
        RecipeError: the kind is unknown.
    """
    if kind not in MAP_KINDS:
        raise RecipeError(f"there is no map {kind!r}", f"use {', '.join(MAP_KINDS)}")
    stages.prepare(recipe, stages.layers, report)
    values, shares = [], []
    for at, task in enumerate(recipe.tasks):
        pairs = [_cell(stages, recipe, kind, at, task, layer) for layer in stages.layers]
        values.append(tuple(value for value, _ in pairs))
        shares.append(tuple(share for _, share in pairs))
    if kind == "norm":
        largest = max(max(row) for row in values) or 1.0
        shares = [tuple(value / largest for value in row) for row in values]
    return LayerMap(kind, recipe.tasks, stages.layers, tuple(values), tuple(shares))


def pairs_of(tasks: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return every unordered pair of tasks, in order."""
    return list(combinations(tasks, 2))


def _cell(stages: Stages, recipe: Recipe, kind: str, at: int, task: str, layer: Layer) -> tuple[float, float]:
    """Return a cell's number and what its colour shows."""
    if kind == "norm":
        return float(torch.linalg.vector_norm(stages.delta(recipe, task, layer.name))), 0.0
    if kind == "overlap":
        row = overlaps(stages, recipe, layer).values[at]
        others = [value for other, value in enumerate(row) if other != at]
        mean = sum(others) / len(others) if others else 0.0
        return mean, mean
    eigenvalues = stages.decomposition(recipe, task, layer).eigenvalues
    if kind == "rank90":
        rank = rank_for_energy(eigenvalues, SHARE)
        return float(rank), rank / layer.d_out
    kept = cumulative_energy(eigenvalues)
    share = float(kept[min(rank_of(recipe, layer), len(kept)) - 1])
    return share, share


def task_key(stages: Stages, recipe: Recipe, task: str) -> tuple[Hashable, ...]:
    """Return what a task's decompositions depend on besides the layer: its files, its proxies, their draw."""
    return stages.files(recipe, task), stages.proxy_key(recipe, task)


def decomposed(stages: Stages, recipe: Recipe) -> tuple[Hashable, ...]:
    """Return what the decompositions of all tasks depend on besides the layer, in the recipe's order."""
    return tuple(task_key(stages, recipe, task) for task in recipe.tasks)


def _padded(values: Tensor, length: int) -> Tensor:
    return torch.cat([values, values.new_zeros(length - len(values))])
