"""The live preview: the recipe on screen is merged at once, then measured on few, more and all validation images."""

from __future__ import annotations

import dataclasses
import threading

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Difference, Evaluation, ExpertAgreement, MergeReport
from esm_viz.merge import static_part, with_method, with_parameters
from esm_viz.merge.preset_lookup import evenly
from esm_viz.ui.jobs.background_job import WORKERS, Job, Steps
from esm_viz.ui.jobs.job_queue import AT_ONCE, LATER, NOW, SOON, Turn
from esm_viz.ui.session.session_jobs import failed, keep
from esm_viz.ui.session.session_searches import CARDS
from esm_viz.ui.session.session_store import MOST_HISTORY, Session, State
from esm_viz.ui.tabs.merge.history_diff import change_in_words

FIRST, MORE = 32, 128  # validation images per task in the first two measurements; the third uses all
PAINT_SECONDS = 0.3  # seconds after a merge for the page to draw it; while a knob is dragged, nothing is measured
HISTORY_SECONDS = 0.8  # seconds without a newer value until a recipe gets an entry in the history
WAIT_SECONDS = 0.6  # seconds that a handler waits for the merge before it answers without it
MOVING, IN_A_CROWD = 8, 4  # proxies per task for agreement while a knob moves, alone or beside others; at rest all
AGREEMENT = ("stats", "accuracy")  # pieces that show agreement
LIVE = ("rail", "stats", "interference", "norms", "states")
SCORES = ("accuracy", "stats", "states", "history")


def reset(recipe: Recipe) -> Recipe:
    """Return the recipe with its method's defaults and a weight of 1 for every task."""
    return with_method(evenly(recipe), recipe.method)


def set_recipe(session: Session, recipe: Recipe, painting: bool = False) -> None:
    """Set the recipe on screen: merge it at once, then measure it on few, more and all validation images.

    Args:
        session: the visitor's session.
        recipe: a recipe with all parameters.
        painting: whether the caller updates the pieces in `LIVE` next, so that a finished merge is not sent twice.
    """
    late = threading.Event()  # set, under the lock, when the handler stops waiting
    with session.lock:
        if session.live is not None:
            session.live.cancel()
        session.recipe = recipe
        session.errors.pop("rail", None)
        session.errors.pop("live", None)
        job = Job("Merging", owner=session.id, urgency=AT_ONCE if session.project.is_cached(recipe) else NOW)
        session.live = job
    if not painting:
        late.set()
    job.start(
        lambda job: _live(session, recipe, job, late),
        lambda text: failed(session, "live", text, (*LIVE, *SCORES)),
    )
    job.first.wait(WAIT_SECONDS)
    with session.lock:
        late.set()


def _live(session: Session, recipe: Recipe, job: Job, late: threading.Event) -> Steps:
    """Merge, then measure on more and more images; between two steps, other jobs may run."""
    project = session.project
    report = project.merge(recipe, job.progress)

    agrees, others = _to_agree(session, recipe), WORKERS.others(session.id)
    few = project.agreement(recipe, MOVING, job.progress) if agrees and not others else None

    def write() -> None:
        session.report = recipe, report
        session.agreement = (recipe, few) if few else session.agreement
        if late.is_set():
            session.touch((*LIVE, *AGREEMENT))

    if not keep(session, job, (), write):
        return
    job.first.set()
    if project.has_proxies and "own norms" not in session.explore_records:  # of the experts: no knob changes them
        own = project.layer_map("norm", recipe, job.progress)
        keep(session, job, ("norms",), lambda: session.explore_records.update({"own norms": (None, own)}))
    if agrees and others:  # other people's merges come first
        yield Turn(SOON)
        _agree(session, recipe, job, IN_A_CROWD)
    measure = project.has_labels("validation") and not _measured_whole(session, recipe)
    if measure or agrees:
        yield Turn(SOON, PAINT_SECONDS)
        keep(session, job, ("history",), lambda: None)  # what shows the recipe follows now, not after minutes of images
    waits = agrees and measure and WORKERS.others(session.id)  # for accuracy, which takes as long
    if agrees and not waits:
        _agree(session, recipe, job, 0)
    first = _measure(session, recipe, job, FIRST) if measure else None
    if session.view.levels and not levels_known(session, recipe):
        record = project.scaling_profile(recipe, job.progress)
        keep(session, job, ("norms",), lambda: session.explore_records.update(levels=(without_alpha(recipe), record)))
    if waits:
        yield Turn(LATER)
        _agree(session, recipe, job, 0)
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
        _measure(session, session.pinned.recipe, job, 0)  # A was pinned before it was measured
    job.resting = True
    yield Turn(SOON, HISTORY_SECONDS)
    keep(session, job, ("history", "states", *CARDS), lambda: remember(session, recipe, report))


def _agree(session: Session, recipe: Recipe, job: Job, limit: int) -> None:
    """Measure agreement on `limit` proxies per task (0 = all), and show it."""
    found = session.project.agreement(recipe, limit, job.progress)
    keep(session, job, AGREEMENT, lambda: setattr(session, "agreement", (recipe, found)))


def _measure(session: Session, recipe: Recipe, job: Job, limit: int) -> Evaluation:
    """Measure B or A on `limit` validation images per task (0 = all), and show the result."""
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
    """Compare the recipe on screen with A in the background, if both are measured and no other job will do it."""
    with session.lock:
        shown, busy = session.validation, session.live is not None and session.live.alive
        if busy or shown is None or session.pinned is None or difference_to(session, session.pinned):
            return
        session.live = job = Job("Comparing with A", owner=session.id, urgency=SOON)
        limit = shown[1].limit
    job.start(lambda job: _compare(session, job, limit), lambda text: failed(session, "live", text, (*LIVE, *SCORES)))


def _compare(session: Session, job: Job, limit: int) -> None:
    """Compare B with A on the images on which B was just measured; A's predictions are cached if it was measured."""
    with session.lock:
        shown, pinned = session.validation, session.pinned
    if pinned is None or shown is None or shown[1].limit != limit or pinned.recipe == shown[0]:
        return
    a, b = pinned.recipe, shown[0]
    found = session.project.difference(a, b, "validation", limit, job.progress)
    keep(session, job, SCORES, lambda: setattr(session, "difference", (a, b, found)))


def difference_to(session: Session, before: State | None) -> Difference | None:
    """Return the comparison of B with a state, if there is one."""
    known = session.difference
    same = known is not None and before is not None and known[:2] == (before.recipe, session.recipe)
    return known[2] if known is not None and same else None


def _measured_whole(session: Session, recipe: Recipe) -> bool:
    return session.validation is not None and session.validation[0] == recipe and not session.validation[1].limit


def _to_agree(session: Session, recipe: Recipe) -> bool:
    """Say whether agreement is still to be measured: every task has proxies, and it was not measured on all of them."""
    known = agreement_of(session, recipe)
    return session.project.has_proxies and (known is None or bool(known.limit))


def agreement_of(session: Session, recipe: Recipe) -> ExpertAgreement | None:
    """Return the last measured agreement if it is that of a recipe."""
    return session.agreement[1] if session.agreement and session.agreement[0] == recipe else None


def without_alpha(recipe: Recipe) -> Recipe:
    """Return the part of a recipe that the scaling profile depends on: the recipe of the weights at α = 1."""
    return static_part(with_parameters(recipe, alpha=1.0))


def levels_known(session: Session, recipe: Recipe) -> bool:
    """Say whether the last measured scaling profile is that of a recipe."""
    return "levels" in session.explore_records and session.explore_records["levels"][0] == without_alpha(recipe)


def remember(session: Session, recipe: Recipe, report: MergeReport) -> None:
    """Add the recipe on screen to the history, after the entry that it was changed from; later entries stay."""
    scores = session.validation[1] if session.validation and session.validation[0] == recipe else None
    kept = agreement_of(session, recipe)
    if session.history and session.history[session.at].recipe == recipe:
        here = dataclasses.replace(session.history[session.at], report=report, evaluation=scores, agreement=kept)
        session.history[session.at] = here
        return
    before = session.history[session.at].recipe if session.history else None
    session.at += 1
    session.history.insert(session.at, State(recipe, report, scores, change_in_words(before, recipe), kept))
    if len(session.history) > MOST_HISTORY:
        del session.history[0]
        session.at -= 1
