"""The Export tab's handlers: type and layout, the proof that stays, what is refused, and what can be fetched."""

from __future__ import annotations

import dataclasses
import io
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load

from esm_viz.checkpoints.atomic_write import write_tensors
from esm_viz.export import verified_export
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.server.temporary_folders import MARK
from esm_viz.ui.session.search_time_estimate import evaluation_seconds, export_seconds
from esm_viz.ui.tabs.export import report_pictures
from tests.support import tiny
from tests.unit.ui.conftest import Page

GOOD = "The file is what you saw."


def write(page: Page) -> str:
    page.act("form", do="export")
    page.rest()
    return str(page.pieces["proof"]["html"])


def links(html: str) -> dict[str, str]:
    """Return what is offered, by file name."""
    return {link.rsplit("/", 1)[1]: link for link in re.findall(r'href="\.(/studio-file/[^"]+)"', html)}


def chosen(page: Page) -> list[str]:
    return re.findall(r'aria-checked="true"[^>]*data-value="([^"]+)"', page.pieces["form"]["html"])


def test_a_type_is_a_change_of_the_recipe_that_every_number_follows(page: Page) -> None:
    before = page.session.recipe
    page.act("form", do="dtype", value="float16")
    page.rest()
    session = page.session
    assert session.recipe == before.replace(dtype="float16")
    assert chosen(page) == ["float16", "tower"]
    assert "Accuracy everywhere is now of these rounded weights." in page.pieces["form"]["html"]
    assert "dtype: float16" in page.pieces["recipe"]["html"]
    truth = session.project.evaluate(session.recipe, "validation").tasks
    found = page.pieces["accuracy"]["figure"]["data"][0]["x"]
    assert found == pytest.approx([100 * row.merged.accuracy for row in truth])
    assert session.history[-1].words == "float32 → float16"
    assert page.pieces["rail"]["recipe"] == session.project.sha256(session.recipe)


def test_a_layout_is_no_change_of_the_recipe(page: Page) -> None:
    before = page.session.recipe
    html = page.act("form", do="layout", value="clip")["form"]["html"]
    assert page.session.recipe == before
    assert chosen(page) == ["float32", "clip"]
    assert "As the base file" in html
    files = links(write(page))
    written = load(page.http.get(files["model.safetensors"]).content)
    assert set(written) == {f"visual.{name}" for name in tiny.base_weights()}


@pytest.mark.parametrize("do", ["dtype", "layout"])
@pytest.mark.parametrize(
    "value", [None, "", 3, True, "int8", ["float16"], {"float16": 1}, "<script>", "base", "x" * 999]
)
def test_a_hand_made_type_or_layout_is_one_sentence_and_changes_nothing(page: Page, do: str, value: Any) -> None:
    before, view = page.session.recipe, page.session.view.layout
    html = page.act("form", do=do, value=value)["proof"]["html"]
    what = "dtype is" if do == "dtype" else "there is no layout"
    assert html.count('class="sentence bad"') == 1
    assert what in html
    assert "<script>" not in html
    assert (page.session.recipe, page.session.view.layout) == (before, view)


@pytest.mark.parametrize("do", ["dtype", "layout", "export"])
def test_a_stranger_writes_nothing(page: Page, do: str) -> None:
    page.call("act", page.studio.parts["form"], "guess", message={"do": do, "value": "float16"})
    assert "This page has expired" in page.pieces["bar"]["html"]
    assert page.session.proof is None


def test_what_is_offered_is_the_model_its_recipe_its_card_and_its_report(page: Page) -> None:
    html = write(page)
    assert GOOD in html
    files = links(html)
    assert list(files) == ["esm_viz-model.zip", "model.safetensors", "recipe.yaml", "README.md", "report.html"]
    for name, link in files.items():
        answer = page.http.get(link)
        assert answer.status_code == 200
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert answer.headers["x-content-type-options"] == "nosniff"
    with zipfile.ZipFile(io.BytesIO(page.http.get(files["esm_viz-model.zip"]).content)) as packed:
        assert {Path(name).name for name in packed.namelist()} >= set(files) - {"esm_viz-model.zip"}
    _, record, _ = page.session.proof
    sizes = {file.name: file.bytes for file in record.written}
    assert sizes == {name: len(page.http.get(files[name]).content) for name in sizes}


def test_the_report_has_every_card_that_is_on_screen(page: Page) -> None:
    page.act("stats", do="pin")
    page.act("rail", do="knob", name="alpha", value=0.45)
    page.rest()
    text = page.http.get(links(write(page))["report.html"]).text
    cards = set(re.findall(r'id="card-([\w-]+)"', text))
    wanted = {"map", "spectrum", "overlap", "angles", "stability", "patches", "subspaces", "accuracy", "interference"}
    assert cards >= wanted | {"norms", "bars"}
    assert "State A in the pictures: ESM, α 1." in text


def test_the_report_is_of_the_moment_it_was_asked_for(page: Page) -> None:
    seen = report_pictures.snapshot(page.session)
    before = page.session.recipe
    page.act("rail", do="knob", name="alpha", value=0.33)
    page.act("map", do="kind", value="norm")
    assert (seen.recipe, seen.view.kind) == (before, "rank90")


def test_the_first_exports_time_grows_with_the_images_that_it_measures(page: Page) -> None:
    page.act("rail", do="knob", name="alpha", value=0.77)
    page.rest()
    session = page.session
    labelled = session.project.headers.labelled
    validation, test = (sum(images.count for images in labelled[split].values()) for split in ("validation", "test"))
    passes = (validation + 4 * test) / validation  # three models on test images for the report, the file on all
    expected = evaluation_seconds(session) * passes + session.project.inspection.seconds
    assert export_seconds(session) == pytest.approx(expected)
    write(page)
    assert export_seconds(session) == session.proof[1].seconds


def test_before_anything_is_measured_the_button_promises_no_time(page: Page) -> None:
    page.session.history.clear()
    page.session.agreement = None
    assert math.isnan(export_seconds(page.session))
    assert "Write and check the model<" in page.act("form", do="layout", value="")["form"]["html"]


def test_the_next_exports_time_is_said_as_every_other_estimate(page: Page) -> None:
    write(page)
    recipe, proof, token = page.session.proof
    for seconds, said in ((0.4, "Write and check again<"), (12.3, "Write and check again, about 12 s<")):
        page.session.proof = (recipe, dataclasses.replace(proof, seconds=seconds), token)
        assert said in page.act("form", do="layout", value="")["form"]["html"]


def test_a_proved_export_stays_and_says_what_changed_since(page: Page) -> None:
    write(page)
    page.act("rail", do="knob", name="alpha", value=0.6)
    page.rest()
    html = page.act("form", do="layout", value="clip")["proof"]["html"]
    assert GOOD not in html
    assert "of an earlier state. Changed on screen since then: " in html
    assert "0.60, open_clip vision tower → open_clip CLIP, visual. names." in html
    assert 'class="proof older"' in html
    assert page.http.get(links(html)["model.safetensors"]).status_code == 200
    page.act("form", do="layout", value="tower")
    assert GOOD in write(page)
    assert page.http.get(links(html)["model.safetensors"]).status_code == 404  # one export is kept, the newest
    assert page.session.folder is not None
    assert len(list(page.session.folder.rglob("model.safetensors"))) == 1


def test_a_file_that_is_not_what_was_on_screen_shows_where_and_offers_nothing(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(path: Path, tensors: dict[str, Any], metadata: dict[str, str]) -> None:
        write_tensors(path, {name: tensor * 1.01 for name, tensor in tensors.items()}, metadata)

    monkeypatch.setattr(verified_export, "write_tensors", wrong)
    html = write(page)
    assert GOOD not in html
    assert "the file differs from the preview in tensors, SHA-256" in html
    assert not links(html)
    assert html.count('class="wrong"') >= 1
    assert "recipe, SHA-256" in html
    monkeypatch.undo()
    assert GOOD in write(page)


def test_a_stopped_export_offers_nothing_and_leaves_no_file(page: Page) -> None:
    page.act("form", do="export")
    page.act("bar", do="cancel")
    page.rest()
    assert page.session.proof is None
    assert "Nothing is written yet." in page.act("form")["proof"]["html"]
    folder = page.session.folder
    assert folder is None or {path.name for path in folder.rglob("*") if path.is_file()} <= {MARK}


def test_files_of_one_page_are_not_another_ones(studio: Studio, page: Page) -> None:
    link = links(write(page))["report.html"]
    studio.store.drop(page.id)
    assert page.http.get(link).status_code == 404
