"""The studio's handlers as anyone can call them over HTTP: they check who asks and what, and answer with pieces."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from esm_viz import with_parameters
from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import parse_mapping
from esm_viz.merge import METHODS, settle
from esm_viz.project.project import Project
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.session import session_store
from esm_viz.ui.session.session_store import GRACE_SECONDS, Session
from esm_viz.ui.session.studio_settings import StudioSettings
from esm_viz.ui.tabs.explore import explore_tab
from esm_viz.ui.uploads import upload_unpack
from tests.support import tiny
from tests.support.errors import says
from tests.unit.ui.conftest import Page


def test_the_page_opens_with_every_picture_painted(studio: Studio) -> None:
    for name in ("map", "spectrum", "overlap", "angles", "accuracy", "interference", "norms"):  # the slow ones follow
        piece = json.loads(studio.parts[name].value)
        assert piece["figure"]["data"], name
        assert not piece.get("error"), name


def test_a_knob_moves_the_recipe_and_the_numbers_are_the_pipelines(page: Page, folder: Path) -> None:
    pieces = page.act("rail", do="knob", name="alpha", value=0.3, seq=7)
    page.rest()
    recipe = with_parameters(page.session.recipe, alpha=0.3)
    project = page.session.project
    alpha = next(k for k in pieces["rail"]["knobs"] if k["name"] == "alpha")
    assert (pieces["rail"]["seq"], alpha["value"]) == (7, 0.3)
    assert page.pieces["rail"]["recipe"] == project.sha256(recipe)
    found = page.pieces["accuracy"]["figure"]["data"][0]["x"]
    truth = [100 * score.merged.accuracy for score in project.evaluate(recipe, "validation").tasks]
    assert found == pytest.approx(truth)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gets_its_declared_knobs_each_with_a_line_of_words_or_formula(page: Page, name: str) -> None:
    method = METHODS[name]
    page.act("rail", do="method", name="method", value=name)
    page.rest()
    rail = page.act("rail", do="knob", name="alpha", value=0.4)["rail"]
    knobs = [knob for knob in rail["knobs"] if knob["act"] == "knob"]
    assert [knob["name"] for knob in knobs] == list(method.knobs)
    assert all(knob["live"] and "{" not in knob["live"] for knob in knobs)
    assert {knob["name"]: knob["text"] for knob in knobs} == {key: knob.text for key, knob in method.knobs.items()}
    assert not rail["error"]


def test_versions_only_grow(page: Page) -> None:
    seen = [page.act("rail", do="knob", name="alpha", value=value)["rail"]["v"] for value in (0.2, 0.9, 0.4)]
    assert seen == sorted(set(seen))


def test_the_last_of_many_values_is_on_screen(page: Page) -> None:
    for step in range(12):
        page.act("rail", do="knob", name="task_exponent", value=step / 10, seq=step)
    page.rest()
    assert page.session.recipe.parameters["task_exponent"] == 1.1
    assert page.session.validation[0] == page.session.recipe
    assert [state.recipe.parameters["task_exponent"] for state in page.session.history][-1] == 1.1
    assert len(page.session.history) == 2  # the first and where the hand came to rest


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"do": "knob", "name": "alpha", "value": 9}, "alpha is 9, give a number from 0 to 3 or the word search"),
        ({"do": "knob", "name": "alpha", "value": "search"}, "alpha is 'search', use the button that searches it"),
        ({"do": "knob", "name": "__class__", "value": 1}, "ESM has no knob '__class__', reload the page"),
        ({"do": "knob", "name": "alpha", "value": [1]}, "ESM has no knob 'alpha', reload the page"),
        ({"do": "method", "value": "magic"}, "there is no method 'magic'"),
        ({"do": "weight", "name": "ants", "value": 5}, "the weight of ants is 5, give a number from 0 to 2"),
        ({"do": "weight", "name": "nobody", "value": 1}, "there is no task 'nobody', use ants, bees, cats"),
    ],
)
def test_a_value_that_the_recipe_refuses_is_one_sentence(page: Page, message: dict[str, Any], sentence: str) -> None:
    before = page.session.recipe
    error = page.act("rail", **message)["rail"]["error"]
    assert error.startswith(sentence)
    assert page.session.recipe == before


@pytest.mark.parametrize("message", [None, [], "x", {"do": "knob"}, {"do": "history", "index": "x"}, {"seq": "x"}])
def test_a_hand_made_message_never_shows_a_traceback(page: Page, message: Any) -> None:
    for name in ("rail", "map", "board", "bar", "proof", "source", "history"):
        page.pieces = {}
        page.call("act", page.studio.parts[name], page.id, message=message)
        assert "Traceback" not in json.dumps(page.pieces)


@pytest.mark.parametrize("stranger", ["", "guess", None, 7, ["x"]])
def test_a_stranger_gets_nothing(page: Page, stranger: Any) -> None:
    page.pieces = {}
    page.call("act", page.studio.parts["rail"], stranger, message={"do": "knob", "name": "alpha", "value": 0.1})
    assert set(page.pieces) <= {"bar"}
    assert page.session.recipe.parameters["alpha"] != 0.1


def test_pages_do_not_see_each_other(studio: Studio) -> None:
    one, other = Page(studio), Page(studio)
    one.act("rail", do="knob", name="alpha", value=0.2)
    assert one.id != other.id
    assert other.session.recipe.parameters["alpha"] == studio.first.recipe.parameters["alpha"]


def test_a_click_on_the_map_selects_cell_pair_and_angles(page: Page) -> None:
    pieces = page.act("map", do="cell", data=["bees", tiny.C_FC])
    assert pieces["spectrum"]["title"].startswith("c_fc 2, bees")
    assert pieces["overlap"]["title"] == "Overlap at c_fc 2"
    assert page.act("overlap", do="pair", data=["ants", "cats"])["angles"]["title"] == "ants and cats"
    assert page.act("map", do="kind", value="norm")["map"]["chosen"] == "norm"


def test_the_slower_pictures_follow_the_selection(page: Page) -> None:
    page.act("map", do="cell", data=["bees", tiny.C_FC])
    page.rest()
    session = page.session
    record = session.project.stability("bees", tiny.C_FC, session.recipe)
    assert page.pieces["stability"]["title"].startswith("Stability at c_fc 2, bees")
    assert page.pieces["stability"]["figure"]["data"][1]["y"] == [size.with_all.mean for size in record.sizes]
    assert not page.pieces["stability"]["stale"]
    seen = session.project.patches("bees", tiny.C_FC, 1, session.recipe)
    assert page.pieces["patches"]["figure"]["data"][0]["z"] == [list(row) for row in seen.images[0].heat]
    page.act("patches", do="direction", value="2")
    page.rest()
    assert page.pieces["patches"]["chosen"] == "2"
    assert page.pieces["patches"]["title"].startswith("What direction 2 sees at c_fc 2, bees")


def test_a_hand_made_direction_or_family_changes_nothing(page: Page) -> None:
    before = dataclasses.replace(page.session.view)
    for name, do, value in (("patches", "direction", "99"), ("patches", "direction", 2), ("subspaces", "family", "x")):
        page.act(name, do=do, value=value)
    assert page.session.view == before


def test_a_direction_that_is_not_there_is_said_in_its_card_alone(folder: Path) -> None:
    raw = tiny.mapping()
    raw["models"][1]["path"] = "base.safetensors"
    project = Project.open(settle(parse_mapping(raw, folder)), device="cpu")
    session = Session("id", "tiny", project, project.recipe, StudioSettings(project, "tiny", "cpu"))
    session.view.cell = ("bees", tiny.C_FC)
    explore_tab.measure_selected(session)
    assert session.explore_job is not None
    assert session.explore_job.done.wait(60)
    cards = {picture.name: picture.card(session) for picture in explore_tab.PICTURES}
    assert cards["patches"]["error"] == "bees did not change at c_fc 2, choose another layer"
    assert cards["stability"]["figure"]
    assert cards["subspaces"]["figure"]
    assert not cards["subspaces"]["error"]


def test_the_subspace_map_selects_cells_and_dwells_on_a_family(page: Page) -> None:
    page.act("subspaces", do="cell", data=["cats", tiny.C_PROJ])
    page.rest()
    assert page.session.view.cell == ("cats", tiny.C_PROJ)
    faint = page.act("subspaces", do="family", value="c_fc")["subspaces"]["figure"]["data"][0]["marker"]["opacity"]
    assert sorted(set(faint)) == [0.12, 1.0]


def test_a_cell_that_is_not_there_is_refused(page: Page) -> None:
    before = page.session.view.cell
    page.act("map", do="cell", data=["bees", "no.such.layer"])
    assert page.session.view.cell == before


def test_pin_compare_and_go_back(page: Page) -> None:
    page.act("stats", do="pin")
    page.act("rail", do="knob", name="alpha", value=0.2)
    page.rest()
    assert "Points against A" in page.pieces["stats"]["html"]
    assert page.act("interference", do="heat", value="difference")["interference"]["chosen"] == "difference"
    page.act("bar", do="undo")
    assert page.session.recipe == page.session.pinned.recipe
    assert page.act("states", do="unpin")["interference"]["chosen"] == "both"


@pytest.mark.parametrize(
    ("heat", "word"), [("direction", "own way"), ("size", "as large as"), ("both", "interference")]
)
def test_the_map_shows_direction_size_or_both(page: Page, heat: str, word: str) -> None:
    card = page.act("interference", do="heat", value=heat)["interference"]
    assert card["chosen"] == heat
    assert word in card["figure"]["layout"]["meta"]["says"]


def test_agreement_is_shown_in_place_of_accuracy_and_says_on_what(page: Page) -> None:
    page.rest()
    found = page.session.agreement[1]
    assert found.limit == 0
    assert f"{found.images} images," in page.pieces["stats"]["html"]
    card = page.act("accuracy", do="measure", value="agreement")["accuracy"]
    assert (card["title"], card["chosen"]) == ("Agreement", "agreement")
    assert card["figure"]["layout"]["meta"]["says"] == found.sentence


def test_while_alpha_moves_accuracy_is_drawn_between_measured_points_and_marked_so(page: Page) -> None:
    page.act("curve", do="draw")
    page.rest()
    moved = page.act("rail", do="knob", name="alpha", value=0.7)  # nothing is measured while a knob moves
    points = {point.alpha: point for point in page.session.searches.curve[1].points}
    share = (0.7 - 0.5) / (0.75 - 0.5)
    low, high = (100 * points[alpha].mean("merged") for alpha in (0.5, 0.75))
    assert f"≈ {low + share * (high - low):.1f} % <small>not measured" in moved["stats"]["html"]
    assert "drawn between α 0.50 and 0.75" in moved["accuracy"]["figure"]["layout"]["meta"]["how"]
    assert moved["accuracy"]["stale"] == ""
    page.rest()
    measured = page.session.validation[1]
    assert (measured.alpha, measured.limit) == (0.7, 0)
    assert (
        "not measured" not in page.pieces["stats"]["html"] + page.pieces["accuracy"]["figure"]["layout"]["meta"]["how"]
    )
    page.act("rail", do="knob", name="spectrum_exponent", value=0.3)  # the curve is not of this recipe
    assert "≈" not in page.pieces["stats"]["html"]


def test_agreement_goes_back_with_the_history(page: Page) -> None:
    page.rest()
    before = page.session.agreement
    page.act("rail", do="knob", name="alpha", value=0.2)
    page.rest()
    assert page.session.agreement[0] == page.session.recipe != before[0]
    page.act("bar", do="undo")
    assert page.session.agreement == before
    page.act("stats", do="pin")
    page.act("accuracy", do="measure", value="agreement")
    page.act("rail", do="knob", name="alpha", value=0.2)
    page.rest()
    line = page.pieces["accuracy"]["figure"]["data"][1]["x"]  # A's, where the bars are B's
    assert line == pytest.approx([100 * row.same.accuracy for row in before[1].tasks])


def test_search_finds_alpha_on_validation_and_uses_it(page: Page) -> None:
    page.act("stats", do="search")
    page.rest()
    found = page.session.search[1]
    assert page.session.recipe.parameters["alpha"] == found.alpha
    assert page.pieces["curve"]["figure"]["data"][-1]["x"] == sorted({point.alpha for point in found.trace})


def test_a_routed_model_is_merged_measured_and_exported(page: Page) -> None:
    pieces = page.act("rail", do="method", value="esmpp")
    page.rest()
    knobs = {knob["name"]: knob for knob in pieces["rail"]["knobs"]}
    assert (knobs["expert_rank"]["value"], knobs["expert_rank"]["step"]) == (32, 1)
    assert "of rank <strong>32</strong>" in knobs["expert_rank"]["live"]
    assert knobs["routed"]["choices"][:4] == ["in_proj", "c_fc", "c_proj", "out_proj"]
    how = page.act("stats", do="pin")["interference"]["how"]
    assert how.endswith("Of ESM's weights alone: the adapters are not in it.")
    page.act("rail", do="knob", name="expert_rank", value=4)
    page.act("rail", do="knob", name="routed", value="in_proj+c_fc+c_proj")
    page.rest()
    project, recipe = page.session.project, page.session.recipe
    assert recipe.parameters["expert_rank"] == 4
    found = page.pieces["accuracy"]["figure"]["data"][0]["x"]
    truth = [100 * score.merged.accuracy for score in project.evaluate(recipe, "validation").tasks]
    assert found == pytest.approx(truth)
    page.call("select", page.tab("Evaluate"), page.id)
    page.rest()
    shown = page.act("routing", do="routes", value="layers")["routing"]
    routing = project.evaluate(recipe, "test").routing
    assert [trace["z"] for trace in shown["figure"]["data"][:-1]] == [
        [list(row[at::3]) for row in routing.shares] for at in range(3)
    ]
    oracle = 100 * project.evaluate(recipe, "test").mean("oracle")
    assert f"{oracle:.1f} % when told the task." in shown["how"]
    page.act("proof", do="export")
    page.rest()
    assert "experts.safetensors" in page.pieces["proof"]["html"]
    assert "The file is what you saw." in page.pieces["proof"]["html"]


@pytest.mark.parametrize("value", [2.5, 0, 129, "many", True])
def test_an_expert_rank_that_is_none_is_one_sentence(page: Page, value: Any) -> None:
    page.act("rail", do="method", value="esmpp")
    error = page.act("rail", do="knob", name="expert_rank", value=value)["rail"]["error"]
    assert error == f"expert_rank is {value!r}, give a whole number from 1 to 128"
    assert page.session.recipe.parameters["expert_rank"] == 32


def test_a_model_that_is_not_routed_has_no_routing_to_look_at(page: Page) -> None:
    page.call("select", page.tab("Evaluate"), page.id)
    page.rest()
    assert page.act("bars", do="shown", value="routing")["bars"].get("choices") is None
    assert page.pieces["bars"]["figure"]["data"]


def test_an_export_is_proved_and_only_then_offered(page: Page) -> None:
    page.act("rail", do="knob", name="alpha", value=0.7)
    page.rest()
    assert "download" not in page.pieces["proof"]["html"]
    page.act("proof", do="export")
    page.rest()
    html = page.pieces["proof"]["html"]
    assert "The file is what you saw." in html
    link = html.split('href=".')[1].split('"')[0]
    answer = page.http.get(link)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert {"model.safetensors", "recipe.yaml", "README.md"} <= {Path(name).name for name in packed.namelist()}
    assert page.http.get(link.replace(link.split("/")[2], "guess")).status_code == 404
    assert page.http.get(link.rsplit("/", 1)[0] + "/..%2Frecipe.yaml").status_code == 404


def test_the_recipe_download_reads_back_as_the_recipe_on_screen(page: Page) -> None:
    page.act("rail", do="knob", name="spectrum_exponent", value=0.4)
    link = page.pieces["bar"]["html"].split('href=".')[1].split('"')[0]
    assert yaml.safe_load(page.http.get(link).text)["parameters"]["spectrum_exponent"] == 0.4
    assert page.id not in page.pieces["bar"]["html"]


def test_a_closed_page_is_forgotten(studio: Studio) -> None:
    page = Page(studio)
    place = page.session.private_folder()
    studio.store.drop(page.id)
    assert studio.store.get(page.id) is None
    assert not place.exists()


def test_a_lost_connection_stops_the_work_and_is_forgotten_after_a_while(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_store, "STOP_SECONDS", 0.0)
    page = Page(studio)
    page.act("rail", do="knob", name="alpha", value=0.15)
    session = studio.store._sessions[page.id]
    jobs = session._jobs
    studio.store.leave(page.hash)
    assert all(job is None or job.done.wait(10) for job in jobs)
    assert not session.busy
    assert not session.expired(session.left + GRACE_SECONDS - 1)
    assert session.expired(session.left + GRACE_SECONDS + 1)
    assert studio.store.get(page.id) is session  # it came back
    assert session.left is None


def test_an_uploaded_zip_with_a_recipe_is_loaded(page: Page, folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "mine.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, Path("mine") / path.relative_to(folder))
        archive.writestr("mine/recipe.yaml", yaml.safe_dump(tiny.mapping()))
    target = tmp_path / "private"
    target.mkdir()
    recipe = upload_unpack.take([str(packed)], target).recipe
    assert recipe.tasks == tiny.TASKS
    assert Project.open(recipe, device="cpu").tasks == tiny.TASKS
    assert not packed.exists()  # it was moved out of the shared folder


@pytest.mark.parametrize("name", ["../evil.yaml", "/tmp/evil.yaml", "a/../../evil.yaml", "C:\\evil.yaml"])
def test_a_zip_that_reaches_outside_is_refused(tmp_path: Path, name: str) -> None:
    packed, target = tmp_path / "bad.zip", tmp_path / "private"
    target.mkdir()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, "x")
    with pytest.raises(RecipeError, match="the zip names"):
        upload_unpack.unpack(packed, target)
    assert not list(target.iterdir())


def test_what_is_wrong_with_an_upload_is_said_in_one_sentence(tmp_path: Path) -> None:
    target = tmp_path / "private"

    def fresh(*names: str) -> list[str]:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for name in names:
            (tmp_path / name).write_bytes(b"x")
        return [str(tmp_path / name) for name in names]

    kinds = ".safetensors, .pt, .pth, .bin, .ckpt, .zip, .parquet, .npz, .yaml, .yml, .json"
    with says(RecipeError, f"model.exe is of no kind that is read here, upload {kinds}"):
        upload_unpack.take(fresh("model.exe"), target)
    assert not (tmp_path / "model.exe").exists()  # nothing of what was refused stays
    text = "no base model is among the files, name the pre-trained weights base, zeroshot or pretrained"
    with says(RecipeError, text):
        upload_unpack.take(fresh("cars.safetensors"), target)
    text = "no expert is beside the base, add the fine-tuned weights as NAME.safetensors or NAME/"
    with says(RecipeError, text):
        upload_unpack.take(fresh("base.safetensors"), target)
    with says(RecipeError, "cars.zip is damaged or not a zip, pack it again"):
        upload_unpack.take(fresh("cars.zip"), target)


def test_an_uploaded_recipe_cannot_name_files_of_the_server(tmp_path: Path) -> None:
    recipe = tiny.mapping() | {"base_model": {"path": "/etc/hostname"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    target = tmp_path / "private"
    target.mkdir()
    with says(RecipeError, "the recipe names 'hostname', outside the upload, use paths beside the recipe"):
        upload_unpack.take([str(tmp_path / "recipe.yaml")], target)
