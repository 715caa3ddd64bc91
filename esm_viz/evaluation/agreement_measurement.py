"""Agreement of a merged model with the experts on unlabelled proxies, by which knobs can be chosen without labels."""

from __future__ import annotations

import time

from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Estimate, ExpertAgreement, Score, TaskAgreement
from esm_viz.inspection.opened_files import MOST_PROXIES
from esm_viz.numerics.expert_agreement import BootstrappedMean, bootstrapped, direction, divergence, mean_of
from esm_viz.stages.cached_predictions import ScoredModel
from esm_viz.stages.merged_model import known_alpha, tower
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import recorded_question
from esm_viz.stages.proxy_features import proxy_features


@recorded_question
def agreement(
    project: OpenedProject, recipe: Recipe, limit: int = 0, progress: Progress = NO_PROGRESS
) -> ExpertAgreement:
    """Compare the merged model with each task's own expert on the task's proxies (METHOD, choosing without labels).

    Args:
        project: the opened project.
        recipe: a recipe of this project, with a number for α.
        limit: proxies per task, spread evenly over those drawn; 0 = all, at most 32.
        progress: callback, may raise Cancelled.

    Raises:
        ImagesError: a task has no proxies.
        NumericsError: features hold NaN or Inf.
    """
    start, recipe = time.perf_counter(), project.settled(recipe)
    alpha = known_alpha(recipe)
    project.stages.need_proxies(project.tasks)
    comparing, total, done = progress.part(0.3, 1.0), 3 * MOST_PROXIES * len(project.tasks), 0

    def boundary(images: int) -> None:
        nonlocal done
        done += images
        comparing(min(done / total, 1.0), "comparing with the experts")

    merged = ScoredModel((project.canonical(recipe),), lambda: tower(project, recipe, progress.part(0.0, 0.3)))
    features = proxy_features(project, recipe, merged, limit, boundary)
    rows, divergences, directions = [], [], []
    for seed, (task, found) in enumerate(zip(project.tasks, features, strict=True)):
        turned = bootstrapped(direction(found.expert, found.merged, found.base), seed)
        directions.append(turned)
        same = apart = None
        head = project.headers.heads.get(task)
        if head is not None:
            expert, now = head.logits(found.expert), head.logits(found.merged)
            divergences.append(bootstrapped(divergence(expert, now), seed))
            same = Score(int((expert.argmax(1) == now.argmax(1)).sum()), len(now))
            apart = _estimate(divergences[-1])
        rows.append(TaskAgreement(task, len(found.merged), same, apart, _estimate(turned)))
    return ExpertAgreement(
        recipe_sha256=project.sha256(recipe),
        method=recipe.method,
        alpha=alpha,
        parameters=dict(recipe.parameters),
        tasks=tuple(rows),
        limit=limit,
        divergence=_estimate(mean_of(divergences)) if len(divergences) == len(rows) else None,
        direction=_estimate(mean_of(directions)),
        seconds=time.perf_counter() - start,
    )


def _estimate(mean: BootstrappedMean) -> Estimate:
    return Estimate(mean.value, *mean.limits)
