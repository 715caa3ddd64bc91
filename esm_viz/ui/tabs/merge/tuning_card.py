"""The tuning card: a search over several knobs at once, with one point per trial; it can be stopped and resumed."""

from __future__ import annotations

import math
from typing import Any

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import KnobSearch, Objective
from esm_viz.figures import tuning_figure
from esm_viz.merge import METHODS, with_parameters
from esm_viz.ui.components.html_snippets import button, chip, select
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session.search_time_estimate import about, trial_seconds
from esm_viz.ui.session.session_jobs import keep, start, wait_for_live
from esm_viz.ui.session.session_searches import Tuning
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.tabs.merge.history_diff import fixed_in_words, labels_of

WHAT = "Tuning knobs"
TRIALS = (5, 20, 40, 80)


_AIMS: dict[Objective | None, str] = {
    "normalised": "a higher share of the experts’ validation accuracy",
    "divergence": "more agreement with the experts on unlabelled images (less KL)",
    "direction": "a higher feature direction on unlabelled images",
    None: "agreement with the experts, which needs a head of every task: class names are enough to make one",
}


def choose(session: Session, what: str, name: str, value: str) -> None:
    """Add a knob to the search or remove it, or set the number of trials.

    Raises:
        RecipeError: there is no such knob or number.
    """
    searches = session.searches
    if what == "tune-knob" and name in METHODS[session.recipe.method].knobs:
        searches.fixed ^= {name}
    elif what == "tune-trials" and value in map(str, TRIALS):
        searches.trials = int(value)
    else:
        raise RecipeError(
            f"{(name if what == 'tune-knob' else value)!r} cannot be chosen here", "choose one of the list"
        )


def tune(session: Session, more: bool = False) -> None:
    """Search the chosen knobs from the recipe on screen, or resume the search that is shown.

    Raises:
        RecipeError: no knob is chosen, there is no search to resume, or the trials are more than the server allows.
    """
    held = session.searches.tuning
    if more and held is None:
        raise RecipeError("there is no search to go on with", "tune first")
    if more and held is not None:
        recipe, storage, knobs, made = held.recipe, held.storage, held.record.knobs, len(held.record.trials)
    else:
        recipe, knobs, made = session.recipe, chosen(session), 0
        storage = session.private_folder() / "trials.json"
    if not knobs:
        raise RecipeError("no knob is chosen", "tick at least one")
    wanted, most = made + session.searches.trials, session.place.limits.trials
    if wanted > most:
        raise RecipeError(f"that makes {wanted} trials", f"one search here has at most {most}, choose fewer")

    def work(job: Job) -> None:
        def seen(record: KnobSearch) -> None:
            found = Tuning(recipe, storage, record)
            keep(session, job, ("tuning",), lambda: setattr(session.searches, "tuning", found))
            wait_for_live(session, job)

        session.project.search_knobs(recipe, knobs, wanted, storage=storage, progress=job.progress, seen=seen)

    start(session, WHAT, work, "tuning", ("tuning",))


def chosen(session: Session) -> tuple[str, ...]:
    """Return the knobs to search."""
    return tuple(name for name in METHODS[session.recipe.method].knobs if name not in session.searches.fixed)


def use(session: Session, data: object) -> Recipe:
    """Return the recipe of a clicked trial.

    Raises:
        RecipeError: there is no such trial, or its merge failed.
    """
    held = session.searches.tuning
    trials = held.record.trials if held else ()
    if held is None or type(data) is not int or not 0 <= data < len(trials) or math.isnan(trials[data].value):
        raise RecipeError("this trial is not in the search", "click another one")
    return _recipe(held, data)


def _recipe(held: Tuning, at: int) -> Recipe:
    return with_parameters(held.recipe, **held.record.trials[at].parameters)


def card(session: Session) -> dict[str, Any]:
    """Return the trials with their controls."""
    held, error = session.searches.tuning, session.errors.get("tuning", "")
    running = session.runs(WHAT)
    objective = session.project.search_objective(alpha_alone=chosen(session) == ("alpha",))
    aim = _AIMS[objective]
    piece: dict[str, Any] = {"title": "Tune several knobs", "error": error, "controls": _controls(session, running)}
    if held is None:
        empty = f"Not tuned yet. The search looks for {aim}; the first trial is the recipe on screen."
        return piece | {"empty": "" if running or error else empty}
    trials = held.record.trials
    now = next((at for at in range(len(trials)) if _recipe(held, at) == session.recipe), None)
    figure = tuning_figure(held.record, now, labels_of(held.record.method))
    held_at = fixed_in_words(held.recipe, session.recipe, held.record.knobs)
    controls = piece["controls"] + chip(held_at)
    return piece | {"controls": controls, "figure": figure, "picks": "tune-trial", "held": held_at}


def _controls(session: Session, running: bool) -> str:
    method, searches = METHODS[session.recipe.method], session.searches
    ticks = "".join(
        f'<label title="{knob.label}"><input type="checkbox" data-do="tune-knob" data-name="{name}"'
        f'{"" if name in searches.fixed else " checked"} aria-label="{knob.label}">'
        f"<span>{knob.symbol or knob.label}</span></label>"
        for name, knob in method.knobs.items()
    )
    cost = about(searches.trials * trial_seconds(session))
    trials = select(
        "tune-trials", "Trials", [(str(count), f"{count} trials") for count in TRIALS], str(searches.trials)
    )
    if running:
        return ticks + trials + button("halt", "Stop")
    again = button("tune-more", f"{searches.trials} more trials") if searches.tuning else ""
    return ticks + trials + button("tune", f"Tune, {searches.trials} trials{cost}") + again
