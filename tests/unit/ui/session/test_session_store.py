"""One session in several pages: what comes back after a reload, who is sent what, and what never crosses over."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from esm_viz.project.project import Project
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.page import opening_session
from esm_viz.ui.page.page_update import PIECES
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.session import session_store
from esm_viz.ui.tabs.merge import live_preview
from tests.support import tiny
from tests.unit.ui.conftest import Page


def moved(studio: Studio) -> Page:
    page = Page(studio)
    page.act("rail", do="knob", name="alpha", value=0.35, seq=9)
    page.act("map", do="cell", data=["bees", tiny.C_PROJ])
    page.rest()
    return page


def news(page: Page, **message: Any) -> set[str]:
    """Ask what is new, as a page does that somebody looks at."""
    page.pieces = {}
    page.call("tick", page.studio.parts["bar"], page.id, message=message)
    return set(page.pieces)


def test_a_reload_comes_back_to_the_same_session(studio: Studio) -> None:
    before = moved(studio)
    after = Page(studio, known=before.id)
    assert after.id == before.id
    assert set(after.pieces) == set(PIECES)
    assert next(k for k in after.pieces["rail"]["knobs"] if k["name"] == "alpha")["value"] == 0.35
    assert after.pieces["spectrum"]["title"].startswith("c_proj 2, bees")
    assert after.act("bar", do="undo")
    assert after.session.recipe == studio.first.recipe
    assert after.act("bar", do="redo")
    assert after.session.recipe.parameters["alpha"] == 0.35


def test_the_number_of_a_rails_message_belongs_to_its_page(studio: Studio) -> None:
    before = moved(studio)
    assert before.act("rail", do="knob", name="alpha", value=0.3, seq=10)["rail"]["seq"] == 10
    after = Page(studio, known=before.id)
    assert after.pieces["rail"]["seq"] == 0
    assert after.act("rail", do="knob", name="alpha", value=0.4, seq=1)["rail"]["seq"] == 1


@pytest.mark.parametrize("known", ["", "guess", None, 7, ["x"], {"a": 1}, "x" * 100_000])
def test_a_page_with_an_id_that_is_nobodys_gets_a_fresh_session(studio: Studio, known: Any) -> None:
    page = Page(studio, known=known)
    assert page.id not in ("", known, studio.first.id)
    assert page.session.recipe == studio.first.recipe
    assert "expired" not in page.pieces["bar"]["html"]


def test_a_session_that_has_expired_opens_fresh_and_without_an_error(studio: Studio) -> None:
    before = moved(studio)
    studio.store.drop(before.id)
    after = Page(studio, known=before.id)
    assert after.id != before.id
    assert after.session.recipe == studio.first.recipe
    assert not after.session.errors


def test_what_one_page_did_is_told_to_the_other_once(studio: Studio) -> None:
    one = moved(studio)
    other = Page(studio, known=one.id)
    one.act("map", do="kind", value="norm")
    assert news(one) == {"bar"}  # it was painted when it asked for that
    assert news(other) == {"bar", "map"}
    assert other.pieces["map"]["chosen"] == "norm"
    assert news(other) == {"bar"}


def test_no_page_takes_the_others_late_results_away(studio: Studio) -> None:
    one = moved(studio)
    other = Page(studio, known=one.id)
    one.session.touch(("found",))
    assert news(one) == {"bar", "found"}
    assert news(other) == {"bar", "found"}
    one.session.touch((session_store.EVERYTHING,))
    assert news(other) == set(PIECES)
    assert news(one) == set(PIECES)


def test_an_answer_that_was_lost_on_the_way_is_sent_again(studio: Studio) -> None:
    page = moved(studio)
    arrived = page.pieces["bar"]["v"]
    page.act("map", do="kind", value="energy")  # never arrives
    assert {"bar", "map"} <= news(page, arrived=arrived)
    assert page.pieces["map"]["chosen"] == "energy"


@pytest.mark.parametrize("arrived", ["x", None, [], -5, 1 << 80, 1.5, True])
def test_a_hand_made_version_is_no_error(page: Page, arrived: Any) -> None:
    page.rest()
    assert "bar" in news(page, arrived=arrived)


def test_closing_one_of_two_pages_stops_nothing_and_closing_the_last_one_does(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_store, "STOP_SECONDS", 0.0)
    one = moved(studio)
    other = Page(studio, known=one.id)
    session = one.session
    session.task = Job("Long work", tells=True)
    studio.store.leave(one.hash)
    assert session.left is None
    assert not session.task.cancelled
    studio.store.leave(other.hash)
    assert session.left is not None
    assert session.task._stop.wait(10)


def test_a_reload_that_is_back_in_time_stops_nothing(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = []
    monkeypatch.setattr(session_store.threading, "Timer", lambda _, call: waiting.append(call) or quiet_timer())
    before = moved(studio)
    before.session.task = Job("Long work", tells=True)
    studio.store.leave(before.hash)
    after = Page(studio, known=before.id)
    for call in waiting:
        call()
    assert not after.session.task.cancelled


def test_what_was_stopped_when_the_last_page_closed_goes_on_when_one_comes_back(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_store, "STOP_SECONDS", 0.0)
    before = Page(studio)
    before.act("rail", do="knob", name="alpha", value=0.27)
    stopped = before.session.live
    studio.store.leave(before.hash)
    assert stopped.done.wait(20)
    after = Page(studio, known=before.id)
    after.rest()
    assert after.session.validation[0] == after.session.recipe
    assert after.session.history[-1].recipe.parameters["alpha"] == 0.27


def test_a_knob_moved_before_the_opening_was_measured_can_be_undone(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_preview, "HISTORY_SECONDS", 60.0)  # the opening never comes to rest
    sessions = session_store.Store()
    first = opening_session.begin(sessions, studio.place)
    visitor = opening_session.copy(first, sessions)
    assert [state.recipe for state in visitor.history] == [first.recipe]
    sessions.close()


def quiet_timer() -> Any:
    """Return something that can be started, in the place of a timer."""
    return type("Quiet", (), {"daemon": False, "start": lambda _: None})()


def test_a_copy_of_the_opening_session_shares_nothing_that_can_change(studio: Studio) -> None:
    first = studio.first
    before = (
        list(first.history),
        list(first.board),
        dict(first.explore_records),
        dataclasses.replace(first.view),
        first.at,
    )
    page = moved(studio)
    page.act("stats", do="pin")
    page.act("map", do="kind", value="norm")
    session = page.session
    session.board.clear()
    session.errors["rail"] = "mine"
    for name in ("history", "board", "explore_records", "view", "errors", "pages", "touched", "downloads", "lock"):
        assert getattr(session, name) is not getattr(first, name), name
    assert before == (first.history, first.board, first.explore_records, first.view, first.at)
    assert first.pinned is None
    assert session.ticket != first.ticket


def test_the_pages_of_one_session_are_not_remembered_without_end(studio: Studio) -> None:
    session = moved(studio).session
    for at in range(3 * session_store.MOST_PAGES):
        session.sight(str(at))
    assert len(session.pages) == session_store.MOST_PAGES


def test_sessions_end_without_anybody_new_arriving(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_store, "SWEEP_SECONDS", 0.01)
    sessions = session_store.Store()
    session = sessions.open(studio.place)
    session.left = -1e9
    until = time.monotonic() + 20
    while sessions.get(session.id) is not None and time.monotonic() < until:
        session.left = -1e9  # looking at it counted as coming back
        time.sleep(0.05)
    assert sessions.get(session.id) is None
    sessions.close()


def test_a_private_projects_stages_leave_with_its_last_session(studio: Studio, folder: Path) -> None:
    sessions, cache = session_store.Store(), studio.place.demo.stages.cache
    one, other = sessions.open(studio.place), sessions.open(studio.place)
    private = Project.open(tiny.recipe(folder), device="cpu", cache=cache)
    private.stages = dataclasses.replace(private.stages, digests={"a": "private", **private.stages.digests})
    one.project = other.project = private
    cache.get(("delta", "private"), lambda: 1)
    demo = next(iter(studio.place.demo.digests))
    cache.get(("of the demo", demo), lambda: 1)
    sessions.drop(one.id)
    assert cache.has(("delta", "private"))
    sessions.drop(other.id)
    assert not cache.has(("delta", "private"))
    assert cache.has(("of the demo", demo))
