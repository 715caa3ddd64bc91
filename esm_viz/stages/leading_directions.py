"""The leading essential directions of a task at a layer, and the cache keys of results computed from them."""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Layer
from esm_viz.merge import METHODS
from esm_viz.numerics.eigenvalue_spectrum import live_directions, rank_of_ratio
from esm_viz.numerics.essential_subspace_decomposition import Decomposition
from esm_viz.stages.merge_stages import Stages


def rank_of(stages: Stages, recipe: Recipe, layer: Layer) -> int:
    """Return r at a layer; ρ = 1 for methods without the rank knob.

    Raises:
        NumericsError: the rank is 0 at this or another layer.
    """
    stages.need_rank(recipe)
    knob = METHODS[recipe.method].roles.get("rank")
    return rank_of_ratio(float(recipe.parameters[knob]) if knob else 1.0, layer.d_out, len(recipe.models))


def leading(decomposition: Decomposition, rank: int) -> Tensor:
    """Return Ê, the first r directions with λ above the noise floor, (d_out, <= r)."""
    live = int(live_directions(decomposition.eigenvalues[:rank]).sum())  # λ is descending, so these are the first ones
    return decomposition.vectors[:, :live]


def task_key(stages: Stages, recipe: Recipe, task: str) -> tuple[Hashable, ...]:
    """Return the cache key of a task's decompositions without the layer: its files, its proxies and their draw."""
    return stages.files(recipe, task), stages.proxy_key(recipe, task)


def decomposed(stages: Stages, recipe: Recipe) -> tuple[Hashable, ...]:
    """Return the cache key of all tasks' decompositions without the layer, in the recipe's order."""
    return tuple(task_key(stages, recipe, task) for task in recipe.tasks)
