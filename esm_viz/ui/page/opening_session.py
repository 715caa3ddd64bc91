"""The opening session, which every new session copies: the opening project, merged and measured."""

from __future__ import annotations

import time

from esm_viz.ui.session.session_store import Session, Store
from esm_viz.ui.session.studio_settings import StudioSettings
from esm_viz.ui.tabs.explore.explore_tab import PICTURES, measure_selected
from esm_viz.ui.tabs.load.load_steps import Arrival, adopt
from esm_viz.ui.tabs.merge.alpha_curve_card import any_alpha
from esm_viz.ui.tabs.merge.live_preview import remember, set_recipe

LOOK = 0.02  # seconds between two checks for a first result


def begin(store: Store, place: StudioSettings) -> Session:
    """Merge the opening project and measure it on a few images, so that pages open with results; the rest follows."""
    first = store.open(place)
    adopt(first, Arrival.of(first, place.name, place.demo, place.demo.with_alpha_found(place.demo.recipe)))
    set_recipe(first, first.recipe)
    while first.live is not None and first.live.running and first.validation is None:
        time.sleep(LOOK)
    with first.lock:
        if first.report is not None and first.report[0] == first.recipe:
            remember(first, *first.report)  # so that the first moved knob can be undone
    if place.demo.recorded is not None:  # else it would take minutes before the page opens
        first.searches.curve = any_alpha(first.recipe), place.demo.alpha_curve(first.recipe)
    measure_selected(first)
    return first


def copy(first: Session, store: Store, session_id: str = "") -> Session:
    """Return a new session with the state of the opening session; they share nothing mutable.

    Args:
        first: the opening session.
        store: the store that gets the new session.
        session_id: the id of a visitor who comes back; a new one if empty.
    """
    session = store.open(first.place, session_id)
    session.recipe, session.report, session.validation = first.recipe, first.report, first.validation
    session.agreement = first.agreement
    session.history, session.at = list(first.history), first.at
    session.thumbs, session.own = first.thumbs, first.own
    session.searched, session.searches.curve = list(first.searched), first.searches.curve
    session.board, session.explore_records = list(first.board), dict(first.explore_records)
    session.comparison_records = dict(first.comparison_records)
    session.view.cell, session.view.pair = first.view.cell, first.view.pair
    session.version = first.version
    if first.live is not None and first.live.running:  # still being measured, so the new session measures itself
        set_recipe(session, session.recipe)
    if len(session.explore_records) < len(PICTURES):
        measure_selected(session)
    return session


def resume(session: Session) -> None:
    """Restart the jobs that were stopped when the session's last page was closed."""
    if session.live is not None and session.live.cancelled:
        set_recipe(session, session.recipe)
    if session.explore_job is not None and session.explore_job.cancelled:
        measure_selected(session)
