"""The recipe on screen: merged at once, then measured on a few validation images, on more, on all."""

from __future__ import annotations

import dataclasses
import threading

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Difference, Evaluation, MergeReport
from esm_viz.merge import static_part, with_method, with_parameters
from esm_viz.merge.preset_lookup import evenly
from esm_viz.ui.jobs.background_job import WORKERS, Job, Steps
from esm_viz.ui.jobs.job_queue import AT_ONCE, LATER, NOW, SOON, Turn
from esm_viz.ui.session.session_jobs import failed, keep
from esm_viz.ui.session.session_searches import CARDS
from esm_viz.ui.session.session_store import MOST_HISTORY, Session, State
from esm_viz.ui.tabs.merge.history_diff import change_in_words

FIRST, MORE = 32, 128  # validation images a task: a first look while a knob moves, a better one, then come all
BREATH = 0.3  # seconds after a merge in which the page paints it; while a knob is dragged nothing more is run
REST = 0.8  # seconds without a newer value, after which a recipe is worth a line in the history
PATIENCE = 0.6  # seconds a handler waits for the merge before it answers with what it has
LIVE = ("rail", "stats", "interference", "norms", "states")
SCORES = ("accuracy", "stats", "states", "history")


def reset(recipe: Recipe) -> Recipe:
    """Return the recipe with its method's defaults and every task weighing the same."""
    return with_method(evenly(recipe), recipe.method)


def set_recipe(session: Session, recipe: Recipe, painting: bool = False) -> None:
    """Make a recipe the one on screen: merge it now, then measure it on a few validation images, then on all.

    Args:
        session: whose screen.
        recipe: settled.
        painting: whether the caller paints `LIVE` next; a merge that was done by then is not painted a second time.
    """
    late = threading.Event()  # set, under the lock, once nobody waits any more
    with session.lock:
        if session.live is not None:
            session.live.cancel()
        session.recipe = recipe
        session.errors.pop("rail", None)
        session.errors.pop("live", None)
        job = Job("Merging", owner=session.id, urgency=AT_ONCE if session.project.at_hand(recipe) else NOW)
        session.live = job
    if not painting:
        late.set()
    job.start(
        lambda job: _live(session, recipe, job, late),
        lambda text: failed(session, "live", text, (*LIVE, *SCORES)),
    )
    job.first.wait(PATIENCE)
    with session.lock:
        late.set()


def _live(session: Session, recipe: Recipe, job: Job, late: threading.Event) -> Steps:
    """Merge, then measure on more and more images; between two steps others have their turn."""
    project = session.project
    report = project.merge(recipe, job.progress)

    def write() -> None:
        session.report = recipe, report
        if late.is_set():
            session.touch(LIVE)

    if not keep(session, job, (), write):
        return
    job.first.set()
    measure = project.has_labels("validation") and not _measured_whole(session, recipe)
    if measure:
        yield Turn(SOON, BREATH)
    first = _measure(session, recipe, job, FIRST) if measure else None
    if session.view.levels and not levels_known(session, recipe):
        record = project.scaling_profile(recipe, job.progress)
        keep(session, job, ("norms",), lambda: session.looks.update(levels=(without_alpha(recipe), record)))
    if first:
        yield Turn(LATER)
        if any(task.merged.n == FIRST for task in first.tasks) and not WORKERS.others(session.id):
            _measure(session, recipe, job, MORE)
            yield Turn(LATER)
        _measure(session, recipe, job, 0)
    if (
        measure
        and session.pinned is not None
        and (session.pinned.evaluation is None or session.pinned.evaluation.limit)
    ):
        yield Turn(LATER)
        _measure(session, session.pinned.recipe, job, 0)  # it was pinned before it was measured
    job.resting = True
    yield Turn(SOON, REST)
    keep(session, job, ("history", "states", *CARDS), lambda: remember(session, recipe, report))


def _measure(session: Session, recipe: Recipe, job: Job, limit: int) -> Evaluation:
    """Measure B, or A, on so many validation images a task, 0 being all, and show it."""
    job.what = "Validation images"
    scores = session.project.evaluate(recipe, "validation", limit, job.progress, oracle=False)

    def write() -> None:
        if recipe == session.recipe:
            session.validation = (recipe, scores)
        if session.pinned is not None and session.pinned.recipe == recipe:
            session.pinned = dataclasses.replace(session.pinned, evaluation=scores)

    keep(session, job, SCORES if limit else (*SCORES, "found"), write)
    _compare(session, job, limit)
    return scores


def compare(session: Session) -> None:
    """Compare what is on screen with A beside the page, where it is measured already and nothing else will do so."""
    with session.lock:
        shown, busy = session.validation, session.live is not None and session.live.alive
        if busy or shown is None or session.pinned is None or difference_to(session, session.pinned):
            return
        session.live = job = Job("Comparing with A", owner=session.id, urgency=SOON)
        limit = shown[1].limit
    job.start(lambda job: _compare(session, job, limit), lambda text: failed(session, "live", text, (*LIVE, *SCORES)))


def _compare(session: Session, job: Job, limit: int) -> None:
    """Compare B with A on the images on which B has just been measured; A answers again only where it never has."""
    with session.lock:
        shown, pinned = session.validation, session.pinned
    if pinned is None or shown is None or shown[1].limit != limit or pinned.recipe == shown[0]:
        return
    a, b = pinned.recipe, shown[0]
    found = session.project.difference(a, b, "validation", limit, job.progress)
    keep(session, job, SCORES, lambda: setattr(session, "difference", (a, b, found)))


def difference_to(session: Session, before: State | None) -> Difference | None:
    """Return B's answers against those of a state, where they have been compared."""
    known = session.difference
    same = known is not None and before is not None and known[:2] == (before.recipe, session.recipe)
    return known[2] if known is not None and same else None


def _measured_whole(session: Session, recipe: Recipe) -> bool:
    return session.validation is not None and session.validation[0] == recipe and not session.validation[1].limit


def without_alpha(recipe: Recipe) -> Recipe:
    """Return what the levels of scaling depend on: the weights' recipe at α = 1."""
    return static_part(with_parameters(recipe, alpha=1.0))


def levels_known(session: Session, recipe: Recipe) -> bool:
    """Say whether the profile that was measured last is that of a recipe."""
    return "levels" in session.looks and session.looks["levels"][0] == without_alpha(recipe)


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
