"""The three cards of searches: what they measure is the pipeline's, what is clicked is used, what is wrong is said."""

from __future__ import annotations

import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from esm_viz import with_parameters
from esm_viz.core.errors import Cancelled
from esm_viz.core.recipe import parse_mapping
from esm_viz.merge import METHODS, settle
from esm_viz.merge.preset_lookup import with_preset
from esm_viz.project.project import Project
from esm_viz.search import knob_sweep
from esm_viz.ui.jobs.background_job import UNEXPECTED, Job
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.session.search_time_estimate import about, estimated, evaluation_seconds
from esm_viz.ui.session.session_jobs import wait_for_live
from esm_viz.ui.session.session_searches import Searches
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.session.studio_settings import StudioSettings
from esm_viz.ui.tabs.load.load_steps import Arrival, adopt
from esm_viz.ui.tabs.merge import alpha_curve_card, search_cards, sweep_card, tuning_card
from esm_viz.ui.tabs.merge.live_preview import FIRST
from tests.support import tiny
from tests.unit.ui.conftest import Page


def finished(page: Page) -> dict[str, dict[str, Any]]:
    """Wait for the job and return all pieces that were painted since."""
    page.rest()
    return page.pieces


def swept(page: Page, knob: str, against: str = "") -> dict[str, Any]:
    """Sweep one or two knobs of five values each and return the card."""
    page.act("sweep", do="sweep-knob", value=knob)
    page.act("sweep", do="sweep-against", value=against)
    page.act("sweep", do="sweep")
    page.rest()
    return page.act("sweep", do="sweep-shown", value="mean")["sweep"]


def unlabelled(folder: Path, *fields: str, method: str = "esm") -> Session:
    """Return a session on files whose only labelled images are test images, without some other fields too."""
    raw = tiny.mapping(method)
    for model in raw["models"]:
        for field in ("validation", *fields):
            del model[field]
    project = Project.open(settle(parse_mapping(raw, folder)), device="cpu")
    return Session("id", "tiny", project, project.recipe, StudioSettings(project, "tiny", "cpu"))


def ended(session: Session) -> None:
    assert session.task is not None
    assert session.task.done.wait(60)


# The curve over α.


def test_the_curve_over_alpha_is_drawn_of_every_task_on_all_images(page: Page) -> None:
    empty = alpha_curve_card.card(page.session)
    assert empty["empty"] == alpha_curve_card.EMPTY
    page.act("curve", do="draw")
    card = finished(page)["curve"]
    project, recipe = page.session.project, page.session.recipe
    truth = project.alpha_curve(recipe)
    lines = card["figure"]["data"]
    assert [line["name"] for line in lines] == [*tiny.TASKS, "mean"]
    assert lines[0]["x"] == [point.alpha for point in truth.points]
    for at in range(len(tiny.TASKS)):
        assert lines[at]["y"] == pytest.approx([100 * point.tasks[at].merged.accuracy for point in truth.points])
    assert lines[-1]["y"] == pytest.approx([100 * point.mean("merged") for point in truth.points])
    title = card["figure"]["layout"]["yaxis"]["title"]["text"]
    assert title == f"accuracy on {tiny.LABELLED}<br>validation images a task, %"
    assert recipe.parameters["alpha"] in lines[0]["x"]
    assert not card["error"]


def test_a_click_on_the_curve_sets_that_alpha(page: Page) -> None:
    page.act("curve", do="draw")
    page.rest()
    pieces = page.act("curve", do="curve", data=1.25)
    assert page.session.recipe.parameters["alpha"] == 1.25
    assert pieces["curve"]["figure"]["layout"]["annotations"][-1]["text"] == "<b>B 1.25</b>"


def test_the_search_for_alpha_draws_what_it_measured(page: Page) -> None:
    before = page.session.recipe
    page.act("stats", do="search")
    card = finished(page)["curve"]
    found = page.session.search[1]
    assert card["figure"]["data"][-1]["x"] == sorted(point.alpha for point in found.trace)
    key, record = page.session.searches.curve
    assert key == with_parameters(before, alpha=1.0)
    told = f"Search α chose {found.alpha:.2f}: {100 * found.value:.1f} % of the experts on {found.images} validation"
    assert told in card["controls"]
    means = {point.alpha: point.mean_normalised for point in record.points}
    assert means == {point.alpha: point.value for point in found.trace}


def test_a_preset_gets_the_alpha_that_a_search_chooses_and_at_once_the_second_time(page: Page) -> None:
    page.act("rail", do="preset", name="preset", value="esm_cvpr")
    page.rest()
    project = page.session.project
    chosen = project.search_alpha(with_preset(project.recipe, "esm_cvpr")).alpha
    assert page.session.recipe.parameters["alpha"] == chosen != METHODS["esm"].defaults["alpha"]
    page.act("rail", do="knob", name="alpha", value=2.5)
    rail = page.act("rail", do="preset", name="preset", value="esm_cvpr")["rail"]
    assert next(knob["value"] for knob in rail["knobs"] if knob["name"] == "alpha") == chosen
    assert page.session.recipe.parameters["alpha"] == chosen


def test_a_knob_that_is_moved_while_a_preset_is_searched_stops_that_search(page: Page) -> None:
    project = page.session.project
    going, go_on = threading.Event(), threading.Event()

    def slow(*_: Any) -> Any:
        going.set()
        go_on.wait(60)
        raise Cancelled

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project, "search_alpha", slow)
        page.act("rail", do="preset", name="preset", value="esm_unscaled")
        assert going.wait(60)
        page.act("rail", do="knob", name="alpha", value=2.5)
        assert page.session.task.cancelled
        go_on.set()
        page.rest()
    assert page.session.recipe.parameters["alpha"] == 2.5


def test_a_moved_knob_leaves_the_curve_and_says_what_it_was_measured_for(page: Page) -> None:
    page.act("stats", do="pin")
    page.act("curve", do="draw")
    page.rest()
    assert "chip" not in page.act("curve", do="halt")["curve"]["controls"]
    page.act("rail", do="knob", name="layer_exponent", value=0.5)
    card = finished(page)["curve"]
    assert '<span class="chip">for p<sub>layer</sub> 2.00</span>' in card["controls"]
    texts = [note["text"] for note in card["figure"]["layout"]["annotations"]]
    assert any(text.startswith("<b>A ") for text in texts)
    assert not any(text.startswith("<b>B ") for text in texts)  # it does not lie on this curve
    page.act("curve", do="curve", data=0.25)
    assert page.session.recipe.parameters["layer_exponent"] == 2.0  # the recipe that was measured, whole
    page.act("rail", do="method", value="tsv_m")
    assert "for ESM<" in page.pieces["curve"]["controls"]


def test_without_labels_the_curve_is_of_agreement_on_proxies_and_says_what_alpha_was_chosen_by(
    tiny_folder: Path,
) -> None:
    session = unlabelled(tiny_folder)
    assert alpha_curve_card.card(session)["title"] == "Agreement with the experts over α"
    search_cards.search_alpha(session)
    ended(session)
    found = session.search[1]
    card = alpha_curve_card.card(session)
    assert found.search_on == "divergence"
    assert f"KL {-found.value:.3f} on {found.images} unlabelled images" in card["controls"]
    assert "agreement with the experts" in card["figure"]["layout"]["yaxis"]["title"]["text"]


def test_the_curve_needs_labels_or_proxies(tiny_folder: Path) -> None:
    session = unlabelled(tiny_folder, "proxies", method="tsv_m")
    assert alpha_curve_card.card(session)["empty"] == alpha_curve_card.UNLABELLED
    alpha_curve_card.draw(session)
    ended(session)
    assert session.errors["curve"].startswith("there is nothing to measure by")


def test_few_images_come_first_and_are_replaced_by_all(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    measure = page.session.project.alpha_curve

    def watched(recipe: Any, limit: int, *more: Any) -> Any:
        asked.append(limit)
        return measure(recipe, limit, *more)

    monkeypatch.setattr(page.session.project, "alpha_curve", watched)
    page.act("curve", do="draw")
    page.rest()
    page.act("curve", do="draw")
    page.rest()
    assert asked == [FIRST, 0, 0]
    assert {point.limit for point in page.session.searches.curve[1].points} == {0}


# The sweep.


def test_a_sweep_over_two_knobs_is_the_pipelines_and_a_click_uses_the_cell(page: Page) -> None:
    card = swept(page, "alpha_scope", "layer_exponent")
    project, recipe = page.session.project, page.session.recipe
    heat = card["figure"]["data"][0]
    scopes, powers = ("all", "essential"), project.spaced(recipe, "layer_exponent", 5)
    assert [cell[:2] for row in heat["customdata"] for cell in row] == [[s, p] for s in scopes for p in powers]
    for row, scope in zip(heat["customdata"], scopes, strict=True):
        for (_, power, number), shown in zip(row, heat["z"][scopes.index(scope)], strict=True):
            own = with_parameters(recipe, alpha_scope=scope, layer_exponent=power)
            assert number == shown == pytest.approx(100 * project.evaluate(own, "validation").mean("merged"))
    assert card["title"] == "Sweep over α scales and p<sub>layer</sub>"
    page.act("sweep", do="sweep-cell", data=["essential", 1])  # JSON has one kind of number
    wanted = with_parameters(recipe, alpha_scope="essential", layer_exponent=1.0)
    assert project.sha256(page.session.recipe) == project.sha256(wanted)
    shapes = page.pieces["sweep"]["figure"]["layout"]["shapes"]
    assert ((shapes[1]["x0"] + shapes[1]["x1"]) / 2, (shapes[1]["y0"] + shapes[1]["y1"]) / 2) == pytest.approx((1, 1))


def test_a_sweep_over_one_knob_can_show_each_quantity(page: Page) -> None:
    card = swept(page, "spectrum_exponent")
    record = page.session.searches.sweep[1]
    assert card["figure"]["data"][-1]["y"] == pytest.approx([100 * c.evaluation.mean("merged") for c in record.cells])
    shown = {}
    for key in ("share", "interference", "1"):
        shown[key] = page.act("sweep", do="sweep-shown", value=key)["sweep"]["figure"]["data"][-1]["y"]
    assert shown["share"] == pytest.approx([100 * cell.evaluation.mean_normalised for cell in record.cells])
    assert shown["interference"] == pytest.approx([cell.interference.mean for cell in record.cells])
    assert shown["1"] == pytest.approx([100 * cell.evaluation.tasks[1].merged.accuracy for cell in record.cells])
    page.act("sweep", do="sweep-cell", data=0.5)
    assert page.session.recipe.parameters["spectrum_exponent"] == 0.5


def test_alpha_can_be_searched_in_each_cell_and_comes_along_with_a_click(page: Page) -> None:
    page.act("sweep", do="sweep-alpha")
    swept(page, "alpha_scope")
    record = page.session.searches.sweep[1]
    own = with_parameters(page.session.recipe, alpha_scope="essential")
    found = page.session.project.search_alpha(own).alpha
    assert record.cells[1].parameters["alpha"] == found
    page.act("sweep", do="sweep-cell", data="essential")
    assert page.session.recipe == with_parameters(own, alpha=found)


def test_a_stopped_sweep_keeps_what_it_has_and_says_so(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    session, calls = page.session, 0
    measure = knob_sweep.evaluate

    def third_is_stopped(*arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            session.task.cancel()
        return measure(*arguments, **more)

    page.rest()
    monkeypatch.setattr(knob_sweep, "evaluate", third_is_stopped)
    page.act("sweep", do="sweep-knob", value="gain")
    page.act("sweep", do="sweep")
    ended(session)
    assert session.searches.sweep[1].reached == 2
    card = page.act("bar", do="cancel")["sweep"]
    assert "Stopped at 40 %. Shown: 2 of 5 cells." in card["controls"]
    assert len(card["figure"]["data"][-1]["y"]) == 2
    page.act("sweep", do="sweep")
    page.rest()
    assert session.searches.sweep[1].reached == 5


def test_nothing_is_chosen_by_test_images(tiny_folder: Path) -> None:
    session = unlabelled(tiny_folder)
    assert session.project.has_labels("test")
    sweep_card.sweep(session)
    ended(session)
    assert session.searches.sweep is not None
    assert session.searches.sweep[1].split is None
    assert all(cell.evaluation is None and cell.agreement for cell in session.searches.sweep[1].cells)
    shown = [("agreement", "agreement with the experts"), ("interference", "interference")]
    assert sweep_card.quantities(session) == shown
    figure = sweep_card.card(session)["figure"]
    assert "agreement with the experts on" in figure["layout"]["yaxis"]["title"]["text"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_knob_to_sweep(page: Page, method: str) -> None:
    page.act("rail", do="method", value=method)
    knobs = METHODS[method].knobs
    assert set(sweep_card.chosen(page.session)) <= set(knobs)
    assert (
        f"Sweep, {len(sweep_card.grid_of(page.session)[sweep_card.chosen(page.session)[0]])} cells"
        in (page.pieces["sweep"]["controls"])
    )


# Tuning.


def test_tuning_makes_the_trials_of_the_pipeline_and_goes_on(page: Page) -> None:
    for name in METHODS["esm"].knobs:
        if name not in ("alpha", "gain"):
            page.act("tuning", do="tune-knob", name=name)
    page.act("tuning", do="tune-trials", value="5")
    recipe = page.session.recipe
    page.act("tuning", do="tune")
    card = finished(page)["tuning"]
    truth = page.session.project.search_knobs(recipe, ["gain", "alpha"], 10)
    assert page.session.searches.tuning.record.trials == truth.trials[:5]
    assert card["figure"]["data"][1]["x"] == [1, 2, 3, 4, 5]
    assert "5 more trials" in card["controls"]
    page.act("tuning", do="tune-trial", data=3)
    assert page.session.recipe == with_parameters(recipe, **truth.trials[3].parameters)
    page.act("tuning", do="tune-more")  # of the search that is shown, whatever is on screen now
    page.rest()
    assert page.session.searches.tuning.record.trials == truth.trials
    colours = tuning_card.card(page.session)["figure"]["data"][1]["marker"]["color"]
    assert [at for at, colour in enumerate(colours) if colour == "var(--accent)"] == [3]


def test_a_stopped_search_keeps_its_trials(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    session, seen = page.session, []
    monkeypatch.setattr(
        tuning_card, "wait_for_live", lambda held, job: seen.append(job) or (len(seen) == 2 and job.cancel())
    )
    page.act("tuning", do="tune")
    ended(session)
    assert len(session.searches.tuning.record.trials) == 2
    assert not session.errors.get("tuning")


# What is refused.

NONE = " cannot be chosen here, choose one of the list"
HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("curve", {"do": "curve", "data": 0.3}, "this point is not on the curve, click another one"),
    ("curve", {"do": "curve", "data": {"alpha": 1}}, "this point is not on the curve, click another one"),
    ("sweep", {"do": "sweep-knob", "value": "__class__"}, "'__class__'" + NONE),
    ("sweep", {"do": "sweep-knob", "value": ["alpha"]}, "\"['alpha']\"" + NONE),
    ("sweep", {"do": "sweep-against", "value": "layer_exponent"}, "'layer_exponent'" + NONE),
    ("sweep", {"do": "sweep-steps", "value": "1e9"}, "'1e9'" + NONE),
    ("sweep", {"do": "sweep-steps", "value": -5}, "'-5'" + NONE),
    ("sweep", {"do": "sweep-shown", "value": "99"}, "'99'" + NONE),
    ("sweep", {"do": "sweep-cell", "data": [1, 2]}, "this cell is not in the sweep, click another one"),
    ("sweep", {"do": "sweep-cell"}, "this cell is not in the sweep, click another one"),
    ("tuning", {"do": "tune-knob", "name": "nobody"}, "'nobody'" + NONE),
    ("tuning", {"do": "tune-trials", "value": "1000000"}, "'1000000'" + NONE),
    ("tuning", {"do": "tune-trial", "data": 0}, "this trial is not in the search, click another one"),
    ("tuning", {"do": "tune-trial", "data": True}, "this trial is not in the search, click another one"),
    ("tuning", {"do": "tune-more"}, "there is no search to go on with, tune first"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "message", "sentence"), HOSTILE)
def test_what_cannot_be_chosen_is_one_sentence_in_its_card(
    page: Page, place: str, message: dict[str, Any], sentence: str
) -> None:
    before = page.session.recipe
    pieces = page.act(place, **message)
    assert pieces[place]["error"] == sentence
    assert not pieces["rail"]["error"]
    assert page.session.recipe == before
    assert page.session.task is None or not page.session.task.running
    assert UNEXPECTED not in json.dumps(pieces)


@pytest.mark.parametrize("do", ["curve", "sweep-cell", "tune-trial", "sweep-steps", "tune-trials"])
@pytest.mark.parametrize("wild", [math.nan, math.inf, 1 << 70, {"a": []}, None])
def test_a_wild_number_is_one_sentence_too(page: Page, do: str, wild: Any) -> None:
    before = page.session.recipe
    search_cards.act(page.session, {"do": do, "data": wild, "value": wild})
    assert page.session.errors[search_cards.CARD_OF[do]].endswith((NONE, "click another one"))
    assert page.session.recipe == before


def test_clicks_beside_what_was_measured_change_nothing(page: Page) -> None:
    swept(page, "gain")
    page.act("tuning", do="tune-trials", value="5")
    page.act("tuning", do="tune")
    page.rest()
    before = page.session.recipe
    for data in (5, -1, "0", None, [0], 1e9):
        assert page.act("tuning", do="tune-trial", data=data)["tuning"]["error"]
    for data in ("2", 0.123, [0, 1], [], {"a": 1}):
        assert page.act("sweep", do="sweep-cell", data=data)["sweep"]["error"]
    assert page.session.recipe == before


def test_no_knob_to_tune_is_said(page: Page) -> None:
    for name in METHODS["esm"].knobs:
        page.act("tuning", do="tune-knob", name=name)
    assert page.act("tuning", do="tune")["tuning"]["error"] == "no knob is chosen, tick at least one"


# Beside the rest of the page.


def test_a_moving_knob_goes_before_a_long_job(studio: Studio) -> None:
    session = studio.store.open(studio.place)
    job, session.live = Job("long", tells=True), Job("live")
    ended_at: list[float] = []
    waiting = threading.Thread(target=lambda: (wait_for_live(session, job), ended_at.append(time.monotonic())))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    session.live.done.set()
    waiting.join(5)
    assert ended_at
    session.live = Job("live")
    job.cancel()
    with pytest.raises(Cancelled):
        wait_for_live(session, job)


def test_a_second_search_is_refused_while_one_runs(page: Page) -> None:
    page.session.task = Job("Sweeping", tells=True)  # never ends
    error = page.act("curve", do="draw")["curve"]["error"]
    assert error == "Sweeping is still running, wait or cancel it"
    assert "halt" in page.pieces["sweep"]["controls"]
    page.act("sweep", do="halt")
    assert not page.session.task.running


def test_a_new_project_starts_without_old_searches(page: Page, studio: Studio) -> None:
    page.act("curve", do="draw")
    page.rest()
    adopt(page.session, Arrival.of(page.session, "other", studio.place.demo, studio.place.demo.recipe))
    assert page.session.searches == Searches()
    assert alpha_curve_card.card(page.session)["empty"] == alpha_curve_card.EMPTY


def test_what_a_search_costs_is_told_from_measurements(page: Page) -> None:
    page.act("rail", do="knob", name="alpha", value=0.123)
    page.rest()
    state = page.session.history[-1]
    assert state.recipe.parameters["alpha"] == 0.123
    assert evaluation_seconds(page.session) == state.evaluation.seconds
    assert [about(seconds) for seconds in (math.nan, 0.4, 12.3, 250)] == ["", "", ", about 12 s", ", about 4 min"]
    told = [estimated(seconds) for seconds in (math.nan, 0.4, 1.0, 250)]
    assert told == ["–", "under 1 s", "about 1 s", "about 4 min"]
