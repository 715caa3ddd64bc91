"""The leading essential directions of a task at a layer, and what they depend on."""

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
    """Return r at a layer; methods without the rank knob are shown at ρ = 1.

    Raises:
        NumericsError: the rank leaves this layer, or another one of the tower, no direction.
    """
    stages.need_rank(recipe)
    knob = METHODS[recipe.method].roles.get("rank")
    return rank_of_ratio(float(recipe.parameters[knob]) if knob else 1.0, layer.d_out, len(recipe.models))


def leading(decomposition: Decomposition, rank: int) -> Tensor:
    """Return Ê, the first r directions that carry energy, (d_out, <= r)."""
    live = int(live_directions(decomposition.eigenvalues[:rank]).sum())  # descending: what lives comes first
    return decomposition.vectors[:, :live]


def task_key(stages: Stages, recipe: Recipe, task: str) -> tuple[Hashable, ...]:
    """Return what a task's decompositions depend on besides the layer: its files, its proxies, their draw."""
    return stages.files(recipe, task), stages.proxy_key(recipe, task)


def decomposed(stages: Stages, recipe: Recipe) -> tuple[Hashable, ...]:
    """Return what the decompositions of all tasks depend on besides the layer, in the recipe's order."""
    return tuple(task_key(stages, recipe, task) for task in recipe.tasks)
