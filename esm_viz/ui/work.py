"""What a visitor can set off: live merges, searches, comparisons, exports, loading. Each is one job of the session.

A job reads the session's recipe once, works without the lock, and writes its result only while nobody cancelled it:
what is late is dropped, so an old value never replaces a newer one.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from esm_viz.errors import RecipeError
from esm_viz.figures.words import safe, short
from esm_viz.merge import METHODS, with_method, with_parameters
from esm_viz.pipeline import Project
from esm_viz.recipe import Recipe
from esm_viz.types import MergeReport, Report
from esm_viz.ui.jobs import Job
from esm_viz.ui.knobs import WEIGHT_RANGE
from esm_viz.ui.selection import settle_view
from esm_viz.ui.store import MOST_HISTORY, BoardRow, Session, State, Store

QUICK = 32  # images a task, for the first look while a knob moves
BREATH = 0.12  # seconds after a merge in which the page paints it; while a knob is dragged nothing more is run
REST = 0.8  # seconds without a newer value, after which a recipe is worth a line in the history
PATIENCE = 0.6  # seconds a handler waits for the merge before it answers with what it has
SLOW = ("stability", "patches", "subspaces")
EXPLORE = ("map", "spectrum", "overlap", "angles", *SLOW)
LIVE = ("rail", "stats", "interference", "norms", "states")
SCORES = ("accuracy", "stats", "states", "history")
BOARD = ("board", "bars", "alpha")


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
    job.start(lambda job: _live(session, recipe, job), lambda text: _failed(session, "live", text, (*LIVE, *SCORES)))
    job.first.wait(PATIENCE)


def _live(session: Session, recipe: Recipe, job: Job) -> None:
    project = session.project
    report = project.merge(recipe, job.report)
    if not _keep(session, job, LIVE, lambda: setattr(session, "report", (recipe, report))):
        return
    job.first.set()
    if project.has_labels("validation"):
        job.what = "Validation images for B"
        job.pause(BREATH)
        for limit in (QUICK, 0):
            scores = project.evaluate(recipe, "validation", limit, job.report, oracle=False)
            names = SCORES if limit else (*SCORES, "found")
            if not _keep(session, job, names, lambda: setattr(session, "validation", (recipe, scores))):  # noqa: B023
                return
    job.rest(REST)
    _keep(session, job, ("history", "states"), lambda: remember(session, recipe, report))


def remember(session: Session, recipe: Recipe, report: MergeReport) -> None:
    """Add the recipe on screen to the history, once it is fully measured; what was undone is dropped."""
    scores = session.validation[1] if session.validation and session.validation[0] == recipe else None
    if session.history and session.history[session.at].recipe == recipe:
        return
    before = session.history[session.at].recipe if session.history else None
    del session.history[session.at + 1 :]
    session.history.append(State(recipe, report, scores, change_in_words(before, recipe)))
    del session.history[:-MOST_HISTORY]
    session.at = len(session.history) - 1


def change_in_words(before: Recipe | None, now: Recipe) -> str:
    """Say what differs between two recipes, as HTML with the knobs' symbols."""
    title = safe(METHODS[now.method].title)
    if before is None or before.method != now.method:
        return f"{title}, α {short(float(now.parameters['alpha']))}"
    knobs = METHODS[now.method].knobs
    parts = [
        f"{knobs[name].symbol or safe(knobs[name].label)} {_value(before.parameters[name])} → {_value(value)}"
        for name, value in now.parameters.items()
        if before.parameters.get(name) != value
    ]
    for old, new in zip(before.models, now.models, strict=True):
        if old.weight != new.weight:
            parts.append(f"weight of {safe(new.name)} {short(old.weight)} → {short(new.weight)}")
    return ", ".join(parts) or title


def _value(value: object) -> str:
    return short(value) if isinstance(value, float) else safe(str(value))


def look(session: Session) -> None:
    """Measure what the slower pictures of Explore show of the selected cell; a newer selection ends an older look."""
    with session.lock:
        if session.look is not None:
            session.look.cancel()
        for name in SLOW:
            session.errors.pop(name, None)
        session.look = Job("Measuring what is selected")
    session.look.start(lambda job: _look(session, job), lambda text: _failed(session, SLOW[0], text, SLOW))


def _look(session: Session, job: Job) -> None:
    settle_view(session)
    project, recipe, asked = session.project, session.recipe, looked_at(session)
    task, layer = asked["stability"][1:]
    direction = asked["patches"][-1]
    measure: dict[str, Callable[[], object]] = {
        "patches": lambda: project.patches(task, layer, direction, recipe, report=job.report),
        "stability": lambda: project.stability(task, layer, recipe, job.report),
        "subspaces": lambda: project.subspace_map(recipe, job.report),
    }
    for name, ask in measure.items():
        try:
            record = ask()
        except RecipeError as error:  # a direction that is not there: its card says so, the others go on
            write = partial(session.errors.__setitem__, name, str(error))
        else:
            write = partial(session.looks.__setitem__, name, (asked[name], record))
        if not _keep(session, job, (name,), write):
            return


def looked_at(session: Session) -> dict[str, tuple[Any, ...]]:
    """Return what each slower picture should show now."""
    cell = session.view.cell or ("", "")
    return {
        "stability": (session.recipe, *cell),
        "patches": (session.recipe, *cell, session.view.direction),
        "subspaces": (session.recipe,),
    }


def search_alpha(session: Session) -> None:
    """Find α on validation images and use it."""

    def work(job: Job) -> None:
        recipe = session.recipe
        found = session.project.search_alpha(recipe, job.report)
        if not _keep(session, job, ("alpha",), lambda: setattr(session, "search", (recipe, found))):
            return
        found_recipe = with_parameters(recipe, alpha=found.alpha)
        if with_parameters(session.recipe, alpha=found.alpha) == found_recipe:  # no other knob moved meanwhile
            set_recipe(session, found_recipe)
            session.touch((*LIVE, *SCORES))

    _task(session, "Searching α", work, "rail", ("rail", "alpha"))


def evaluate_test(session: Session) -> None:
    """Measure the recipe on screen on the test images, if that has not been done."""
    recipe = session.recipe
    if any(row.recipe == recipe for row in session.board) or not session.project.has_labels("test"):
        return

    def work(job: Job) -> None:
        scores = session.project.evaluate(recipe, "test", 0, job.report)
        row = BoardRow(METHODS[recipe.method].title, recipe, scores, searched=False)
        _keep(session, job, BOARD, lambda: _add_row(session, row))

    _task(session, "Test images for B", work, "board", BOARD)


def compare_all(session: Session) -> None:
    """Give every method its own search for α on validation images, and measure each on the test images."""
    start = session.recipe

    def work(job: Job) -> None:
        names = list(METHODS)
        for at, name in enumerate(names):
            title = METHODS[name].title
            part = _part(job.report, at / len(names), 1 / len(names), title)
            recipe = with_method(start, name)
            if name != "averaging":  # α = 1 by definition
                found = session.project.search_alpha(recipe, _part(part, 0.0, 0.8, "searching α"))
                recipe = with_parameters(recipe, alpha=found.alpha)
            scores = session.project.evaluate(recipe, "test", 0, _part(part, 0.8, 0.2, "test images"))
            row = BoardRow(title, recipe, scores, searched=True)
            _keep(session, job, BOARD, lambda: _add_row(session, row))  # noqa: B023

    _task(session, "Comparing methods", work, "board", BOARD)


def _part(report: Report, start: float, share: float, title: str) -> Report:
    """Return a report that fills one part of another one's bar."""
    return lambda fraction, words: report(start + share * fraction, f"{title}, {words}" if words else title)


def _add_row(session: Session, row: BoardRow) -> None:
    same = [old for old in session.board if old.recipe != row.recipe]
    session.board = [old for old in same if not (row.searched and old.searched and old.title == row.title)] + [row]


def export(session: Session, store: Store) -> None:
    """Write the model, read it again, and offer the files for download if it is what was on screen."""
    recipe = session.recipe

    def work(job: Job) -> None:
        folder = session.private_folder() / "esm_viz-model"
        proof = session.project.export(recipe, folder, job.report, portable=True)
        shutil.make_archive(str(folder), "zip", root_dir=folder.parent, base_dir=folder.name)
        shutil.move(f"{folder}.zip", folder / "esm_viz-model.zip")
        token = store.offer(session, folder)
        _keep(session, job, ("proof",), lambda: setattr(session, "proof", (recipe, proof, token)))

    _task(session, "Writing and checking the model", work, "export", ("proof",))


def load(session: Session, name: str, read: Callable[[Report], Project]) -> None:
    """Open a project, decompose it, and put it on screen; the old one stays until the new one is whole."""

    def work(job: Job) -> None:
        project = read(_part(job.report, 0.0, 0.3, "reading"))
        project.prepare(_part(job.report, 0.3, 0.6, ""))
        recipe = project.with_alpha_found(project.recipe, _part(job.report, 0.9, 0.1, ""))
        if _keep(session, job, (), lambda: adopt(session, name, project, recipe)):
            set_recipe(session, recipe)
            look(session)
            session.touch((*EXPLORE, *LIVE, *SCORES, *BOARD, "source", "found", "cost", "proof"))

    _task(session, "Loading", work, "load", ("source", "found", "cost"))


def adopt(session: Session, name: str, project: Project, recipe: Recipe) -> None:
    """Make a prepared project the session's own; everything measured of the old one goes."""
    session.name, session.project, session.recipe = name, project, recipe
    session.report = session.validation = session.pinned = session.search = session.proof = session.explored = None
    session.looks = {}
    if session.look is not None:
        session.look.cancel()  # of the old project
    session.history, session.at, session.board, session.errors = [], -1, [], {}
    session.view = dataclasses.replace(session.view, cell=None, pair=None, direction=1, difference=False)
    session.thumbs = {task: project.thumbnails(task, 3) for task in project.tasks}


def _task(session: Session, what: str, work: Callable[[Job], None], place: str, names: Iterable[str]) -> None:
    """Start the session's one explicit job; a second one waits for nobody, it is refused."""
    with session.lock:
        if session.task is not None and session.task.running:
            session.errors[place] = f"{session.task.what} is still running, wait or cancel it"
            session.touch(names)
            return
        session.errors.pop(place, None)
        session.task = Job(what, tells=True)
    session.task.start(work, lambda text: _failed(session, place, text, names))


def _failed(session: Session, place: str, text: str, names: Iterable[str]) -> None:
    with session.lock:
        session.errors[place] = text
        session.touch(names)


def _keep(session: Session, job: Job, names: Iterable[str], write: Callable[[], None]) -> bool:
    """Write a result unless the job was cancelled; say whether it was written."""
    with session.lock:
        if job.cancelled:
            return False
        write()
        session.touch(names)
        return True
