"""The cards of searches on the Merge tab: the handler of their messages, and the α search."""

from __future__ import annotations

from typing import Any

from esm_viz.core.errors import EsmVizError
from esm_viz.merge import METHODS, with_parameters
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session.session_jobs import keep, start
from esm_viz.ui.session.session_searches import CARDS
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.tabs.merge import alpha_curve_card, sweep_card, tuning_card
from esm_viz.ui.tabs.merge.alpha_curve_card import any_alpha
from esm_viz.ui.tabs.merge.live_preview import LIVE, SCORES, set_recipe
from esm_viz.ui.tabs.tab_definition import Piece

PIECES = (
    Piece("curve", "card", alpha_curve_card.card),
    Piece("tuning", "card", tuning_card.card),
    Piece("sweep", "card", sweep_card.card),
)
CARD_OF = {
    **dict.fromkeys(("draw", "curve"), "curve"),
    **dict.fromkeys(("sweep", "sweep-cell"), "sweep"),
    **dict.fromkeys(("sweep-knob", "sweep-against", "sweep-steps", "sweep-shown", "sweep-alpha"), "sweep"),
    **dict.fromkeys(("tune", "tune-more", "tune-trial", "tune-knob", "tune-trials"), "tuning"),
    "halt": "",
}
DOES = tuple(CARD_OF)
SEARCHING, SEARCHING_FOR_PRESET = "Searching α", "Searching the preset’s α"


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Handle a message of one of the three cards; an error is shown as one sentence in its card."""
    do = str(message.get("do"))
    place = CARD_OF[do]
    for card in CARDS:  # removes earlier errors
        session.errors.pop(card, None)
    try:
        _act(session, do, message)
    except EsmVizError as error:
        session.errors[place] = str(error)
    return (*LIVE, *SCORES, *CARDS)


def _act(session: Session, do: str, message: dict[str, Any]) -> None:
    name, value, data = str(message.get("name")), str(message.get("value", "")), message.get("data")
    if do == "draw":
        alpha_curve_card.draw(session)
    elif do == "sweep":
        sweep_card.sweep(session)
    elif do in ("tune", "tune-more"):
        tuning_card.tune(session, more=do == "tune-more")
    elif do == "halt":
        if session.task is not None:
            session.task.cancel()
    elif do in ("curve", "sweep-cell", "tune-trial"):
        use = {"curve": alpha_curve_card.use, "sweep-cell": sweep_card.use, "tune-trial": tuning_card.use}[do]
        set_recipe(session, use(session, data))
    elif do.startswith("sweep-"):
        sweep_card.choose(session, do, value)
    else:
        tuning_card.choose(session, do, name, value)


def search_alpha(session: Session) -> None:
    """Search α on validation images and use the result; the measurements are added to the α curve."""
    _search(session, SEARCHING)


def stop_own_search(session: Session) -> None:
    """Stop the search that a preset started, since another recipe is wanted now."""
    if session.runs(SEARCHING_FOR_PRESET) and session.task is not None:
        session.task.cancel()


def choose_alpha(session: Session) -> None:
    """Give the recipe on screen the α that a search chose for it earlier, or else search it beside the page.

    Other work that the visitor started is not disturbed: then α stays, and the button searches it.
    """
    recipe = session.recipe
    if not METHODS[recipe.method].searches_alpha:
        return
    known = next((old for old in reversed(session.searched) if any_alpha(old) == any_alpha(recipe)), None)
    if known is not None:
        session.recipe = known
    elif session.project.search_objective() is not None and not (session.task is not None and session.task.running):
        _search(session, SEARCHING_FOR_PRESET)


def _search(session: Session, what: str) -> None:
    recipe = session.recipe

    def work(job: Job) -> None:
        found = session.project.search_alpha(
            recipe, job.progress, lambda point: alpha_curve_card.add(session, job, recipe, point)
        )
        found_recipe = with_parameters(recipe, alpha=found.alpha)

        def write() -> None:
            session.search = recipe, found
            session.searched = [old for old in session.searched if any_alpha(old) != any_alpha(recipe)] + [found_recipe]

        if not keep(session, job, ("curve",), write):
            return
        if with_parameters(session.recipe, alpha=found.alpha) == found_recipe:  # no other knob was changed meanwhile
            set_recipe(session, found_recipe)
            session.touch((*LIVE, *SCORES, *CARDS))

    start(session, what, work, "rail", ("rail", "curve"))
