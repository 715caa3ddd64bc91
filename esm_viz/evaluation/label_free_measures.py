"""Measures of a merge that need no labels: interference, and the norms of the merged change."""

from __future__ import annotations

import math
import time

from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Interference, LayerNorms, MergeReport
from esm_viz.merge import static_part
from esm_viz.numerics.interference import direction, interference, size
from esm_viz.stages.merged_model import known_alpha
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import question, recorded_question


@recorded_question
def merge(project: OpenedProject, recipe: Recipe, progress: Progress = NO_PROGRESS) -> MergeReport:
    """Merge all layers and measure interference and norms of the merged weights, without adapters and labels."""
    start = time.perf_counter()
    recipe = project.settled(recipe)
    static = static_part(recipe)
    stages, alpha = project.stages, known_alpha(recipe)
    stages.run(static, True, progress)
    scales = stages.scales(static)
    factors = stages.layer_factors(static)
    measured = tuple(zip(*(stages.pulls(static, layer) for layer in project.layers), strict=True))  # T x L
    scaled = [list(zip(row, (scales[layer.name] for layer in project.layers), strict=True)) for row in measured]
    values = tuple(tuple(interference(pull, scale) for pull, scale in row) for row in scaled)
    before = [stages.norm(static, layer) for layer in project.layers]
    after = [norm * factors[layer.name] for norm, layer in zip(before, project.layers, strict=True)]
    return MergeReport(
        recipe_sha256=project.sha256(recipe),
        method=recipe.method,
        alpha=alpha,
        parameters=recipe.parameters,
        interference=Interference(
            tasks=project.tasks,
            layers=project.layers,
            values=values,
            means=tuple(_known_mean(row) for row in values),
            directions=tuple(tuple(direction(pull) for pull in row) for row in measured),
            sizes=tuple(tuple(size(pull, scale) for pull, scale in row) for row in scaled),
        ),
        norms=LayerNorms(project.layers, tuple(before), tuple(after)),
        effects={**stages.effects(static), "alpha": (alpha, alpha)},
        seconds=time.perf_counter() - start,
    )


@question
def is_cached(project: OpenedProject, recipe: Recipe) -> bool:
    """Say whether all stages that `merge` needs are cached, so that it is fast."""
    return not project.stages.missing(static_part(project.settled(recipe)), measured=True)


def _known_mean(row: tuple[float, ...]) -> float:
    known = [value for value in row if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
