"""The subspace map: every task and layer as a point of a plane, placed by its overlaps with the other tasks.

Subspaces of two layers cannot be compared directly: neurons and heads of one block have no counterpart in the next.
But every layer has a T x T table of overlaps. So a (task, layer) is described by its row of that table, and two of them
are as far apart as their rows (see `core.records.SubspaceMap`).
"""

from __future__ import annotations

import math

import torch

from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import SubspaceMap
from esm_viz.explore.overlap import overlap_at
from esm_viz.numerics.multidimensional_scaling import plane_of
from esm_viz.stages.leading_directions import decomposed
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import recorded_question

_COMPARING = 0.7  # share of the progress spent before the points are placed


@recorded_question
def subspace_map(project: OpenedProject, recipe: Recipe, progress: Progress = NO_PROGRESS) -> SubspaceMap:
    """Return a point for every task and layer, and how much their distances are distorted."""
    stages, recipe = project.stages, project.settled(recipe)
    tables = []
    for step, layer in enumerate(stages.layers):
        progress(_COMPARING * step / len(stages.layers), f"comparing subspaces at {layer.label}")
        tables.append(overlap_at(stages, recipe, layer))
    rows = torch.tensor([table.values for table in tables], dtype=torch.float64).transpose(0, 1)  # T x L x T
    moved = rows.diagonal(dim1=0, dim2=2).T > 0  # an empty subspace does not even overlap with itself
    key = ("subspace map", tuple(table.k for table in tables), stages.device, *decomposed(stages, recipe))
    drawing = progress.part(_COMPARING, 1.0)
    plane = stages.cache.get(
        key,
        lambda: plane_of(rows[moved] / math.sqrt(2), lambda done: drawing(done, "drawing the map")),
    )
    points = torch.full((*moved.shape, 2), math.nan, dtype=torch.float64)
    points[moved] = plane.positions
    placed = tuple(tuple((float(x), float(y)) for x, y in row) for row in points.tolist())
    return SubspaceMap(recipe.tasks, stages.layers, placed, plane.stress)
