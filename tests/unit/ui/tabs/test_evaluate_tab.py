"""The Evaluate tab without a browser: leaderboard, flips, confusion, routing, and messages that nobody should send."""

from __future__ import annotations

import base64
import csv
import dataclasses
import html
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from esm_viz.core.errors import Cancelled, HeadError
from esm_viz.core.recipe import parse_mapping
from esm_viz.merge import METHODS, settle, with_method, with_parameters
from esm_viz.project.leaderboard import KEPT, agreement_standings, kept_board, standings, write_board
from esm_viz.project.project import Project
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.session.search_time_estimate import board_seconds, evaluation_seconds, trial_seconds
from esm_viz.ui.session.session_store import BoardRow, Session
from esm_viz.ui.session.studio_settings import StudioSettings
from esm_viz.ui.tabs.evaluate import leaderboard_table
from esm_viz.ui.tabs.evaluate.compare_all_methods import compare_all
from esm_viz.ui.tabs.evaluate.evaluate_tab import act
from esm_viz.ui.tabs.evaluate.leaderboard_table import board, board_csv, key_of
from tests.support import tiny
from tests.support.errors import says
from tests.unit.ui.conftest import Page


def open_tab(page: Page) -> None:
    page.call("select", page.tab("Evaluate"), page.id)
    page.rest()


@pytest.fixture
def pinned(page: Page) -> Page:
    """Return a page with the opening recipe as A, α 1.6 as B, on Evaluate."""
    page.act("stats", do="pin")
    page.act("rail", do="knob", name="alpha", value=1.6)
    page.rest()
    open_tab(page)
    return page


def with_flips(page: Page) -> None:
    """Open the tab on bees with an α at which many of its images flip from the pre-trained model to B."""
    page.act("rail", do="knob", name="alpha", value=1.6)
    page.rest()
    page.call("select", page.tab("Evaluate"), page.id)
    page.act("flips", do="task", value="bees")
    page.rest()


def words(page: Page, name: str) -> str:
    """Return what a block says, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page.pieces[name]["html"])).split())


def shown(page: Page) -> list[int]:
    """Return the places of the thumbnails on screen."""
    return [int(at) for at in re.findall(r'data-do="image" data-index="(\d+)"', page.pieces["flips"]["html"])]


# Flips.


def test_flips_are_the_pipelines(pinned: Page) -> None:
    session = pinned.session
    pinned.act("flips", do="task", value="cats")
    pinned.rest()
    found = session.project.flips(session.pinned.recipe, session.recipe, "cats")
    said = words(pinned, "flips")
    assert f"{len(found.became_right)} became right" in said
    assert f"{len(found.became_wrong)} became wrong" in said
    assert f"{found.both_right} right with both, {found.both_wrong} wrong with both, of 24 test images." in said
    assert set(shown(pinned)) <= {flip.index for flip in (*found.became_right, *found.became_wrong)}
    assert "against ESM at α 1.60. Click one" in said


def test_the_paired_difference_is_the_pipelines(pinned: Page) -> None:
    session = pinned.session
    found = session.project.difference(session.pinned.recipe, session.recipe)
    low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in found.mean_interval)
    assert f"({low} to {high})" in words(pinned, "flips")
    assert f"mean of {len(tiny.TASKS)} tasks" in words(pinned, "flips")


def test_a_click_shows_both_answers_with_their_scores_and_the_truth(page: Page) -> None:
    with_flips(page)
    project, recipe = page.session.project, page.session.recipe
    found = project.flips("pretrained", recipe, "bees")
    flip = (*found.became_right, *found.became_wrong)[0]
    page.act("flips", do="image", index=str(flip.index))
    a, b = (found.classes[at] for at in (flip.a, flip.b))
    marks = ("✓", "✕") if flip.a == flip.label else ("✕", "✓")
    true = found.classes[flip.label]
    rows = (
        f"Pre-trained {a} {marks[0]} {100 * flip.a_probability:.0f} % B {b} {marks[1]} {100 * flip.b_probability:.0f} %"
    )
    said = words(page, "flips")
    assert f"Image {flip.index + 1}: true class {true} . Model Prediction Score {rows}" in said
    assert "a softmax of 30 × the cosine over 4 classes" in said
    assert page.pieces["flips"]["html"].count('aria-pressed="true"') == 1


def test_a_clicked_image_is_enlarged_with_its_own_pixels(tmp_path: Path) -> None:
    """Thumbnails of the tiny project are whole already, so the test halves them."""
    with_small = Project.labelled_thumbnails

    def halved(project: Project, task: str, split: Any, indices: Any, side: int = 8) -> list[bytes]:
        return with_small(project, task, split, indices, side)

    tiny.write_project(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Project, "labelled_thumbnails", halved)
        made = Studio(Project.open(tiny.recipe(tmp_path), device="cpu"), "tiny", "cpu")
        page = Page(made)
        with_flips(page)
        index = shown(page)[0]
        page.act("flips", do="image", index=str(index))
        made.store.close()
    sent = [base64.b64decode(text) for text in re.findall(r"base64,([^\"]+)", page.pieces["flips"]["html"])]
    sizes = [Image.open(io.BytesIO(png)).size for png in sent]
    assert sizes[-1] == (16, 16)
    assert set(sizes[:-1]) == {(8, 8)}


def test_thumbnails_are_the_tasks_own_images(page: Page) -> None:
    with_flips(page)
    sent = re.findall(r'src="data:image/png;base64,([^"]+)"', page.pieces["flips"]["html"])
    assert sent
    images = page.session.project.labelled_thumbnails("bees", "test", shown(page))
    assert [base64.b64decode(text) for text in sent] == images


@pytest.mark.parametrize(
    ("against", "said"), [("pretrained", "the pre-trained model"), ("finetuned", "the expert of ants")]
)
def test_without_a_pinned_state_there_is_still_something_to_compare(page: Page, against: str, said: str) -> None:
    open_tab(page)
    page.act("flips", do="against", value=against)
    page.rest()
    assert f"{said} against ESM" in words(page, "flips")
    assert "of 24 test images" in words(page, "flips")


def test_another_projects_images_are_gone(page: Page, studio: Any, tmp_path: Path) -> None:
    from esm_viz.ui.tabs.load.load_steps import Arrival, adopt

    with_flips(page)
    assert shown(page)
    before = page.session.comparison_records["flips"]
    tiny.write_project(tmp_path)
    other = Project.open(tiny.recipe(tmp_path), device="cpu")
    adopt(page.session, Arrival.of(page.session, "other", other, other.recipe))
    page.act("flips", do="image", index="1")
    assert "<img" not in page.pieces["flips"]["html"]
    page.rest()
    assert page.session.comparison_records.get("flips") != before


def test_the_places_of_flips_come_from_the_studio_alone(page: Page) -> None:
    with_flips(page)
    everything = set(range(tiny.LABELLED))
    stranger = next(iter(everything - set(shown(page))))
    page.act("flips", do="image", index=str(stranger))
    assert "true class" not in words(page, "flips")


# Confusion and routing.


@pytest.mark.parametrize(("choice", "model"), [("b", None), ("finetuned", "finetuned"), ("pretrained", "pretrained")])
def test_the_confusion_is_the_pipelines(page: Page, choice: str, model: Any) -> None:
    open_tab(page)
    page.act("confusion", do="task", value="bees")
    page.act("confusion", do="confused", value=choice)
    page.rest()
    found = page.session.project.confusion(model or page.session.recipe, "bees")
    heat = page.pieces["confusion"]["figure"]["data"][0]
    assert [[cell[2] for cell in row] for row in heat["customdata"]] == [list(row) for row in found.counts]
    assert heat["z"][3] == [count / found.totals[3] for count in found.counts[3]]
    assert page.pieces["confusion"]["chosen"] == choice


def test_a_bar_chooses_the_task(page: Page) -> None:
    open_tab(page)
    assert page.pieces["bars"]["picks"] == "task"
    page.act("bars", do="task", data="cats")
    assert page.pieces["confusion"]["title"] == "Predictions on cats"


def test_routes_are_shown_where_b_is_routed(page: Page) -> None:
    open_tab(page)
    assert "not measured yet" in page.pieces["routing"]["empty"]
    page.act("rail", do="method", value="esmpp")
    page.rest()
    open_tab(page)
    routing = page.session.project.evaluate(page.session.recipe).routing
    assert routing is not None
    by_layer = page.act("routing", do="routes", value="layers")["routing"]
    layer = by_layer["figure"]["data"][0]["customdata"][1][0][1]
    assert by_layer["picks"] == "routed"
    clicked = page.act("routing", do="routed", data=["bees", layer])["routing"]
    at = [each.name for each in routing.layers].index(layer)
    assert clicked["figure"]["data"][0]["z"] == [list(row) for row in routing.routes[at]]
    whole = page.act("routing", do="routed", value="")["routing"]
    assert whole["figure"]["data"][0]["z"] == [list(row) for row in routing.mean_routes]
    assert "mean of 4 layers" in whole["figure"]["layout"]["meta"]["how"]


def test_a_clicked_route_shows_its_images_wrong_predictions_first(page: Page) -> None:
    page.act("rail", do="method", value="esmpp")
    page.rest()
    open_tab(page)
    project, recipe = page.session.project, page.session.recipe
    assert page.act("routing", do="routes", value="where")["routing"]["picks"] == "route"
    page.act("routing", do="route", data=["cats", "cats"])
    page.rest()
    found = project.routed_images(recipe, "cats", "cats")
    assert 0 < found.wrong < len(found.images)
    foot = page.pieces["routing"]["foot"]
    places = [int(at) for at in re.findall(r'data-do="routed_image" data-index="(\d+)"', foot)]
    assert places == [image.index for image in found.images][: len(places)]
    sent = [base64.b64decode(text) for text in re.findall(r"base64,([^\"]+)", foot)]
    assert sent == project.labelled_thumbnails("cats", "test", places)
    assert f"{len(found.images)} of 24 test images of cats" in foot
    assert f"{found.wrong} of them predicted wrong. Wrong predictions first." in foot
    image = found.images[0]
    page.act("routing", do="routed_image", index=str(image.index))
    told = " ".join(re.sub(r"<[^>]*>", " ", page.pieces["routing"]["foot"]).split())
    true, predicted = found.classes[image.label], found.classes[image.predicted]
    assert f"true class {true} , predicted as {predicted} ✕, score {100 * image.probability:.0f} %." in told
    assert f"It went there at {image.layers} of 4 layers." in told


def test_the_images_of_a_route_follow_the_layer(page: Page) -> None:
    page.act("rail", do="method", value="esmpp")
    page.rest()
    open_tab(page)
    page.act("routing", do="route", data=["cats", "bees"])
    page.act("routing", do="routed", value=page.session.board[-1].evaluation.routing.layers[2].name)
    page.rest()
    found = page.session.project.routed_images(page.session.recipe, "cats", "bees", page.session.view.routed)
    assert f"{len(found.images)} of 24 test images of cats" in page.pieces["routing"]["foot"]
    assert "at this layer" in page.pieces["routing"]["foot"]


# The leaderboard.


@pytest.fixture(scope="module")
def compared(studio: Any) -> Page:
    page = Page(studio)
    page.act("board", do="compare")
    page.rest()
    return page


def test_the_board_ranks_every_method_on_test_images(compared: Page) -> None:
    rows = [row for row in compared.session.board if row.searched]
    assert [row.recipe.method for row in rows] == list(METHODS)
    assert {row.evaluation.split for row in rows} == {"test"}
    page = compared.act("board", do="look")["board"]["html"]
    means = [float(text) for text in re.findall(r'class="r num" title="[^"]*">([\d.]+)<', page)]
    assert means == sorted(means, reverse=True)
    assert len(means) == len(compared.session.board) + 3  # experts, pre-trained, and an oracle of ESM++
    assert "ESM++, rank 32, told the task" in page
    assert "No published numbers for this architecture and these tasks" in page


def test_a_row_found_its_alpha_on_validation_images(compared: Page) -> None:
    row = next(row for row in compared.session.board if row.recipe.method == "tsv_m")
    project = compared.session.project
    found = project.search_alpha(with_method(project.recipe, "tsv_m"))
    assert row.recipe == with_parameters(with_method(project.recipe, "tsv_m"), alpha=found.alpha)
    assert row.evaluation.tasks == project.evaluate(row.recipe).tasks
    assert row.seconds > 0


def test_a_click_on_a_row_sets_its_recipe(compared: Page) -> None:
    row = next(row for row in compared.session.board if row.recipe.method == "iso_c")
    compared.act("board", do="row", row=key_of(row))
    assert compared.session.recipe == row.recipe
    compared.rest()
    assert compared.pieces["bars"]["title"] == "Iso-C on test images"


def test_the_csv_holds_the_numbers_and_what_they_were_measured_on(compared: Page) -> None:
    lines = list(csv.DictReader(io.StringIO(board_csv(compared.session))))
    esm = next(line for line in lines if line["method"] == "esm" and line["alpha_found_by"] == "search")
    row = next(row for row in compared.session.board if row.evaluation.recipe_sha256 == esm["recipe_sha256"])
    assert (esm["split"], esm["images"], esm["measured"]) == ("test", str(3 * tiny.LABELLED), "here")
    assert float(esm["mean"]) == pytest.approx(row.evaluation.mean("merged"), abs=1e-6)
    assert float(esm["cats"]) == pytest.approx(row.evaluation.tasks[2].merged.accuracy, abs=1e-6)
    assert [line["row"] for line in lines].count("experts") == 1


def test_published_numbers_stand_in_a_column_of_their_own(compared: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    project = compared.session.project
    before = re.findall(r"data-row=\"(\w+)\"", compared.act("board", do="look")["board"]["html"])
    monkeypatch.setattr("esm_viz.papers.published_accuracy.size_of", lambda tasks: 8)
    monkeypatch.setattr(project, "inspection", dataclasses.replace(project.inspection, arch="ViT-B-32-quickgelu"))
    page = compared.act("board", do="look")["board"]["html"]
    assert '<th class="r published">published</th>' in page
    assert 'title="In the papers, 95.4 % of the experts">88.6</td>' in page
    assert "arXiv:2606.19164" in page
    assert "No published numbers" not in page
    assert re.findall(r"data-row=\"(\w+)\"", page) == before  # the ranking is ours alone


def test_what_was_measured_stays_when_comparing_is_cancelled(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Project.evaluate

    def stops(self: Project, recipe: Any, *given: Any, **more: Any) -> Any:
        if recipe.method == "ties":
            raise Cancelled
        return plain(self, recipe, *given, **more)

    monkeypatch.setattr(Project, "evaluate", stops)
    page.act("board", do="compare")
    page.rest()
    names = [row.recipe.method for row in page.session.board if row.searched]
    assert names == list(METHODS)[: list(METHODS).index("ties")]


def test_rows_of_older_recipes_make_room(page: Page) -> None:
    for alpha in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        page.act("rail", do="knob", name="alpha", value=alpha)
        page.rest()
        open_tab(page)
    alphas = [row.recipe.parameters["alpha"] for row in page.session.board if not row.searched]
    assert alphas == [0.2, 0.3, 0.4, 0.5, 0.6]  # B, and four before it


# A board without labels.


def without(folder: Path, *fields: str) -> Session:
    """Return a session on the tiny project whose models lack these fields."""
    raw = tiny.mapping("averaging")
    for model in raw["models"]:
        for field in fields:
            model.pop(field, None)
    project = Project.open(settle(parse_mapping(raw, folder)), device="cpu")
    return Session("id", "tiny", project, project.recipe, StudioSettings(project, "tiny", "cpu"))


def at_rest(session: Session) -> None:
    for job in (session.live, session.task):
        assert job is None or job.done.wait(120)


def test_without_labels_methods_stand_in_the_order_of_kl_and_a_row_is_used(tiny_folder: Path) -> None:
    session = without(tiny_folder, "test", "validation")
    assert "Compare all" in board(session)["html"]
    compare_all(session)
    at_rest(session)
    rows = session.agreement_board
    assert [row.recipe.method for row in rows] == list(METHODS)
    for row in rows:
        assert row.agreement.tasks == session.project.agreement(row.recipe).tasks
        assert row.agreement.limit == 0
    ranked = sorted(rows, key=lambda row: row.agreement.divergence.value)
    text = board(session)["html"]
    assert re.findall(r'<tr class="\w+" data-do="row" data-row="(\w+)"', text) == [
        row.agreement.recipe_sha256[:16] for row in ranked
    ]
    found = re.search(r'href="data:text/csv;base64,([^"]*)"', text)
    lines = list(csv.DictReader(io.StringIO(base64.b64decode(found[1]).decode())))
    assert [float(line["kl"]) for line in lines] == pytest.approx(
        [row.agreement.divergence.value for row in ranked], abs=1e-6
    )
    act(session, {"do": "row", "row": ranked[0].agreement.recipe_sha256[:16]})
    assert session.recipe == ranked[0].recipe
    assert board_seconds(session) == pytest.approx(sum(row.seconds for row in rows))


@pytest.mark.parametrize("field", ["proxies", "head"])
def test_without_labels_and_proxies_or_heads_the_board_says_what_is_missing(tiny_folder: Path, field: str) -> None:
    session = without(tiny_folder, "test", "validation", field)
    text = board(session)["html"]
    assert "class names are enough" in text
    assert 'data-do="compare"' not in text


def test_heads_are_asked_for_before_any_method_is_merged(tiny_folder: Path) -> None:
    project = without(tiny_folder, "test", "validation", "head").project
    missing = "ants, bees, cats have no head to choose knobs other than α by"
    with says(HeadError, f"{missing}, give `head` in the recipe, class names are enough to make one"):
        next(agreement_standings(project, project.recipe))


# A board kept beside a recipe.


@pytest.fixture
def kept(tmp_path: Path) -> Project:
    tiny.write_project(tmp_path)
    project = Project.open(tiny.recipe(tmp_path), device="cpu")
    write_board(project, list(standings(project, project.recipe)), tmp_path / KEPT)
    return project


def test_a_kept_board_is_read_as_it_was_written(kept: Project) -> None:
    rows, again = kept_board(kept), list(standings(kept, kept.recipe))
    assert [row.recipe for row in rows] == [row.recipe for row in again]
    for row, other in zip(rows, again, strict=True):
        assert (row.evaluation.tasks, row.evaluation.routing) == (other.evaluation.tasks, other.evaluation.routing)


def test_a_kept_board_of_other_files_is_not_believed(kept: Project, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "ants.safetensors", tmp_path / "bees.safetensors")
    assert kept_board(Project.open(kept.recipe, device="cpu")) == []


def test_a_kept_board_of_other_test_images_is_not_believed(kept: Project, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "ants_test.safetensors", tmp_path / "bees_test.safetensors")
    assert kept_board(Project.open(kept.recipe, device="cpu")) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"test_images_sha256": 3}', "[" * 100])
def test_a_broken_board_is_no_board(kept: Project, tmp_path: Path, text: str) -> None:
    (tmp_path / KEPT).write_text(text)
    assert kept_board(kept) == []


def test_a_board_of_another_format_is_not_believed(kept: Project, tmp_path: Path) -> None:
    board = json.loads((tmp_path / KEPT).read_text())
    (tmp_path / KEPT).write_text(json.dumps(board))
    assert kept_board(kept)
    (tmp_path / KEPT).write_text(json.dumps({**board, "format": board["format"] + 1}))
    assert kept_board(kept) == []


def test_a_row_of_a_method_that_is_not_there_makes_no_board(kept: Project, tmp_path: Path) -> None:
    board = json.loads((tmp_path / KEPT).read_text())
    board["rows"][0]["method"] = "sum"
    (tmp_path / KEPT).write_text(json.dumps(board))
    assert kept_board(kept) == []


# What nobody should send.


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"do": "task", "value": "dogs"}, "there is no such task, use ants, bees, cats"),
        ({"do": "task", "value": ["ants"]}, "there is no such task, use ants, bees, cats"),
        ({"do": "task"}, "there is no such task, use ants, bees, cats"),
        ({"do": "route", "data": ["ants", "dogs"]}, "there is no such route, use two of ants, bees, cats"),
        ({"do": "route", "data": [["ants"], "bees"]}, "there is no such route, use two of ants, bees, cats"),
        ({"do": "route"}, "there is no such route, use two of ants, bees, cats"),
        ({"do": "against", "value": "../a"}, "there is no such model, use a, pretrained, finetuned"),
        ({"do": "against", "value": "b"}, "there is no such model, use a, pretrained, finetuned"),
        ({"do": "confused", "value": {"a": 1}}, "there is no such model, use a, b, pretrained, finetuned"),
        ({"do": "image", "index": "-1"}, "there is no such image, click another one"),
        ({"do": "image", "index": "²"}, "there is no such image, click another one"),
        ({"do": "image", "index": "9" * 5000}, "there is no such image, click another one"),
        ({"do": "image"}, "there is no such image, click another one"),
        ({"do": "row", "row": "0"}, "this row is gone, click another one"),
        ({"do": "row", "row": {"x": 1}}, "this row is gone, click another one"),
        ({"do": "routed", "value": "visual.proj"}, "there is no such routed layer, reload the page"),
        ({"do": "routed", "data": [["x"], {}]}, "there is no such routed layer, reload the page"),
        ({"do": "routed"}, "there is no such routed layer, reload the page"),
    ],
)
def test_a_wrong_message_is_one_sentence(page: Page, message: dict[str, Any], text: str) -> None:
    before = page.session.recipe
    page.act("board", **message)
    assert text in words(page, "board")
    assert page.session.recipe == before


def test_class_names_are_escaped(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = page.session.project.scorer
    monkeypatch.setattr(type(scorer), "classes", lambda *_: tuple(f"<img src=x>{at}" for at in range(tiny.CLASSES)))
    with_flips(page)
    page.act("flips", do="image", index=str(shown(page)[0]))
    page.act("confusion", do="look")
    assert "<img src=x>" not in page.pieces["flips"]["html"]
    assert "&lt;img src=x&gt;" in page.pieces["flips"]["html"]
    assert "<img" not in page.pieces["confusion"]["figure"]["layout"]["yaxis"]["ticktext"][0]


def test_the_estimate_is_of_whole_measurements(page: Page) -> None:
    page.act("rail", do="knob", name="alpha", value=0.77)
    page.rest()
    one = trial_seconds(page.session, searched=True) + evaluation_seconds(page.session)
    assert board_seconds(page.session) == pytest.approx(len(METHODS) * one)
    row = BoardRow("TIES", with_method(page.session.recipe, "ties"), page.session.history[-1].evaluation, True, 12.0)
    page.session.board = [row]  # what a method took here is known
    assert board_seconds(page.session) == pytest.approx((len(METHODS) - 1) * one + 12.0)


def test_a_share_that_is_unknown_is_a_dash_with_a_sentence(page: Page) -> None:
    open_tab(page)
    session = page.session
    assert "right on none" not in board(session)["html"]
    rows = [
        dataclasses.replace(task, finetuned=dataclasses.replace(task.finetuned, correct=0))
        for task in session.board[-1].evaluation.tasks
    ]
    wrong = dataclasses.replace(session.board[-1].evaluation, tasks=tuple(rows))
    session.board[-1] = dataclasses.replace(session.board[-1], evaluation=wrong)
    said = html.unescape(board(session)["html"])
    assert "The experts of ants, bees, cats are right on none of their images" in said
    assert "so accuracy ÷ expert’s is not known" in said
    assert '<td class="r">–</td>' in said
    assert "nan" not in re.sub(r"<[^>]*>", " ", said).split()


def test_a_task_named_as_a_column_has_a_column_of_its_own(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    open_tab(page)
    first = board_csv(page.session).splitlines()[0].split(",")
    assert first[-3:] == list(page.session.project.tasks)
    monkeypatch.setattr(leaderboard_table, "_COLUMNS", (*first[:-3], "ants"))
    assert board_csv(page.session).splitlines()[0].split(",")[-3:] == ["task ants", "bees", "cats"]
