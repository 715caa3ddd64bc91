"""The layer map: for each task and layer, one number on how much fine-tuning changed there or the tasks share."""

from __future__ import annotations

import torch

from esm_viz.core.errors import RecipeError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Layer, LayerMap
from esm_viz.explore.overlap import overlap_at
from esm_viz.numerics.eigenvalue_spectrum import cumulative_energy, rank_for_energy
from esm_viz.stages.leading_directions import rank_of
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import recorded_question

MAP_KINDS = ("rank90", "energy", "norm", "overlap")
SHARE = 0.9  # of the energy, in the rank map


@recorded_question
def layer_map(project: OpenedProject, kind: str, recipe: Recipe, progress: Progress = NO_PROGRESS) -> LayerMap:
    """Return one number for each task and layer; kind is "rank90", "energy", "norm" or "overlap".

    Raises:
        RecipeError: the kind is unknown.
    """
    if kind not in MAP_KINDS:
        raise RecipeError(f"there is no map {kind!r}", f"use {', '.join(MAP_KINDS)}")
    recipe = project.settled(recipe)
    project.stages.prepare(recipe, project.layers, progress)
    values, shares = [], []
    for at, task in enumerate(recipe.tasks):
        pairs = [_cell(project, recipe, kind, at, task, layer) for layer in project.layers]
        values.append(tuple(value for value, _ in pairs))
        shares.append(tuple(share for _, share in pairs))
    if kind == "norm":
        largest = max(max(row) for row in values) or 1.0
        shares = [tuple(value / largest for value in row) for row in values]
    return LayerMap(kind, recipe.tasks, project.layers, tuple(values), tuple(shares))


def _cell(project: OpenedProject, recipe: Recipe, kind: str, at: int, task: str, layer: Layer) -> tuple[float, float]:
    """Return the number of a cell and its share in [0, 1], which its colour shows."""
    stages = project.stages
    if kind == "norm":
        return float(torch.linalg.vector_norm(stages.delta(recipe, task, layer.name))), 0.0
    if kind == "overlap":
        row = overlap_at(stages, recipe, layer).values[at]
        others = [value for other, value in enumerate(row) if other != at]
        mean = sum(others) / len(others) if others else 0.0
        return mean, mean
    eigenvalues = stages.decomposition(recipe, task, layer).eigenvalues
    if kind == "rank90":
        rank = rank_for_energy(eigenvalues, SHARE)
        return float(rank), rank / layer.d_out
    kept = cumulative_energy(eigenvalues)
    share = float(kept[min(rank_of(stages, recipe, layer), len(kept)) - 1])
    return share, share
