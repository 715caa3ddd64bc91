"""The overlap of the tasks' essential subspaces at a layer."""

from __future__ import annotations

from itertools import combinations

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Layer, Overlap
from esm_viz.numerics import subspace_overlap
from esm_viz.stages.leading_directions import decomposed, leading, rank_of
from esm_viz.stages.merge_stages import Stages
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import recorded_question


@recorded_question
def overlap(project: OpenedProject, layer_name: str, recipe: Recipe) -> Overlap:
    """Return the overlap of every two tasks' essential subspaces at rank r."""
    return overlap_at(project.stages, project.settled(recipe), project.layer(layer_name))


def overlap_at(stages: Stages, recipe: Recipe, layer: Layer) -> Overlap:
    """Return the overlap at a layer, for a settled recipe."""
    rank = rank_of(stages, recipe, layer)
    key = ("overlap", rank, layer.name, stages.device, *decomposed(stages, recipe))

    def compute() -> tuple[tuple[float, ...], ...]:
        bases = [leading(stages.decomposition(recipe, task, layer), rank) for task in recipe.tasks]
        return tuple(tuple(subspace_overlap.overlap(left, right) for right in bases) for left in bases)

    return Overlap(layer, recipe.tasks, stages.cache.get(key, compute), rank / layer.d_out, rank)


def pairs_of(tasks: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return every unordered pair of tasks, in order."""
    return list(combinations(tasks, 2))
