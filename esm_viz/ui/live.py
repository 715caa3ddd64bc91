"""The recipe on screen: merged at once, then measured on a few validation images, then on all."""

from __future__ import annotations

import dataclasses

from esm_viz.errors import RecipeError
from esm_viz.recipe import Recipe
from esm_viz.types import MergeReport
from esm_viz.ui.changes import change_in_words
from esm_viz.ui.jobs import Job
from esm_viz.ui.knobs import WEIGHT_RANGE
from esm_viz.ui.running import failed, keep
from esm_viz.ui.store import MOST_HISTORY, Session, State

QUICK = 32  # images a task, for the first look while a knob moves
BREATH = 0.12  # seconds after a merge in which the page paints it; while a knob is dragged nothing more is run
REST = 0.8  # seconds without a newer value, after which a recipe is worth a line in the history
PATIENCE = 0.6  # seconds a handler waits for the merge before it answers with what it has
LIVE = ("rail", "stats", "interference", "norms", "states")
SCORES = ("accuracy", "stats", "states", "history")


def with_weight(recipe: Recipe, task: str, weight: float) -> Recipe:
    """Return the recipe with one task's weight changed.

    Raises:
        RecipeError: there is no such task, or the weight is out of range.
    """
    least, most, _ = WEIGHT_RANGE
    if task not in recipe.tasks:
        raise RecipeError(f"there is no task {task!r}", f"use {', '.join(recipe.tasks)}")
    if not least <= weight <= most:
        raise RecipeError(f"the weight of {task} is {weight:g}", f"give a number from {least:g} to {most:g}")
    models = (dataclasses.replace(m, weight=weight) if m.name == task else m for m in recipe.models)
    return recipe.replace(models=tuple(models))


def set_recipe(session: Session, recipe: Recipe) -> None:
    """Make a recipe the one on screen: merge it now, then measure it on a few validation images, then on all."""
    with session.lock:
        if session.live is not None:
            session.live.cancel()
        session.recipe = recipe
        session.errors.pop("rail", None)
        session.errors.pop("live", None)
        job = Job("Merging")
        session.live = job
    job.start(lambda job: _live(session, recipe, job), lambda text: failed(session, "live", text, (*LIVE, *SCORES)))
    job.first.wait(PATIENCE)


def _live(session: Session, recipe: Recipe, job: Job) -> None:
    project = session.project
    report = project.merge(recipe, job.report)
    if not keep(session, job, LIVE, lambda: setattr(session, "report", (recipe, report))):
        return
    job.first.set()
    if project.has_labels("validation"):
        job.what = "Validation images for B"
        job.pause(BREATH)
        for limit in (QUICK, 0):
            scores = project.evaluate(recipe, "validation", limit, job.report, oracle=False)
            names = SCORES if limit else (*SCORES, "found")
            if not keep(session, job, names, lambda: setattr(session, "validation", (recipe, scores))):  # noqa: B023
                return
    job.rest(REST)
    keep(session, job, ("history", "states"), lambda: remember(session, recipe, report))


def remember(session: Session, recipe: Recipe, report: MergeReport) -> None:
    """Add the recipe on screen to the history, once it is fully measured; what was undone is dropped."""
    scores = session.validation[1] if session.validation and session.validation[0] == recipe else None
    if session.history and session.history[session.at].recipe == recipe:
        session.history[session.at] = dataclasses.replace(session.history[session.at], report=report, evaluation=scores)
        return
    before = session.history[session.at].recipe if session.history else None
    del session.history[session.at + 1 :]
    session.history.append(State(recipe, report, scores, change_in_words(before, recipe)))
    del session.history[:-MOST_HISTORY]
    session.at = len(session.history) - 1
