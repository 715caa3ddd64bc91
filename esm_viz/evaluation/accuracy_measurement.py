"""The accuracy of base, experts and merged model on the same labelled images."""

from __future__ import annotations

import time

from esm_viz.core.errors import HeadError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Evaluation, Split
from esm_viz.families.routed_tower import RoutedTower
from esm_viz.stages.merged_model import known_alpha, tower
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import recorded_question


@recorded_question
def evaluate(
    project: OpenedProject,
    recipe: Recipe,
    split: Split = "test",
    limit: int = 0,
    progress: Progress = NO_PROGRESS,
    *,
    oracle: bool = True,
) -> Evaluation:
    """Return the accuracy of base, experts and merged model on the same images, and the routing of an ESM++ model.

    Args:
        project: the opened project.
        recipe: a recipe of this project.
        split: "validation" or "test".
        limit: images per task, spread evenly over its set; 0 = all.
        progress: callback, may raise Cancelled.
        oracle: whether to also measure a routed model with every image routed to its own task's adapters.

    Raises:
        ImagesError: a task has no labelled images of that split.
    """
    start, scorer = time.perf_counter(), project.scorer
    recipe = project.settled(recipe)
    scorer.need_labels(split)
    alpha = known_alpha(recipe)
    identity, told = project.canonical(recipe), 0.2 if oracle else 0.0
    model = tower(project, recipe, progress.part(0.0, 0.1))
    end = 1.0 - told if isinstance(model, RoutedTower) else 1.0
    rows = scorer.table(model, identity, split, limit, progress.part(0.1, end))
    routing = (
        scorer.routing(model, identity, split, limit, oracle, progress.part(end, 1.0))
        if isinstance(model, RoutedTower)
        else None
    )
    return Evaluation(
        recipe_sha256=project.sha256(recipe),
        method=recipe.method,
        alpha=alpha,
        parameters=recipe.parameters,
        split=split,
        tasks=rows,
        limit=limit,
        seconds=time.perf_counter() - start,
        routing=routing,
    )


def evaluate_to_normalise(project: OpenedProject, recipe: Recipe, limit: int, progress: Progress) -> Evaluation:
    """Return validation accuracy, after a check that it can be divided by every expert's (METHOD, ESM step 4).

    Raises:
        ImagesError: a task has no labelled validation images.
        HeadError: an expert has an accuracy of 0.
    """
    evaluation = evaluate(project, recipe, "validation", limit, progress, oracle=False)
    for row in evaluation.tasks:
        if not row.finetuned.correct:
            wrong = f"{row.task}'s expert is right on none of its {row.finetuned.n} validation images"
            raise HeadError(wrong, "check its head and its labels")
    return evaluation
