"""The studio as a visitor uses it, on the demo, in Chromium."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from esm_viz import load_recipe, with_parameters
from esm_viz.core.recipe import Recipe
from esm_viz.project.project import Project
from tests.e2e.conftest import ROOT, sync_api

Page = sync_api.Page
RANGE = "document.querySelector('#card-spectrum .fig')._fullLayout.xaxis.range"
SLIDE = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})); }"
WILD = """(input, values) => { let at = 0; const step = () => {
  input.value = values[at]; input.dispatchEvent(new Event('input', {bubbles: true}));
  if (++at < values.length) setTimeout(step, 15); else window.dragged = true; }; step(); }"""


@pytest.fixture(scope="module")
def project(recipe: Path) -> Project:
    return Project.open(load_recipe(recipe), device="cpu")


def tab(page: Page, number: int) -> None:
    page.keyboard.press(str(number))
    page.wait_for_selector(f"#studio-tabs [role=tab]:nth-child({number}).selected")


def slider(page: Page, name: str) -> Any:
    return page.locator(f"[data-knob={name}] input[type=range]")


def at_rest(page: Page) -> None:
    page.wait_for_function("document.querySelector('.job')?.innerText.trim() === 'Up to date'")


def parts(model: Path) -> tuple[dict[str, Any], bytes]:
    """Return a safetensors file's header, whose order is free, and its tensors' bytes."""
    raw = model.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:end]), raw[end:]


def shown_means(page: Page) -> list[float]:
    """Read the bars that are drawn, in per cent."""
    script = "document.querySelector('#card-accuracy .fig').data.find((trace) => trace.type === 'bar').x"
    return [float(value) for value in page.evaluate(script)]


def wait_for(page: Page, project: Project, wanted: Recipe) -> None:
    """Wait until the page shows this recipe merged."""
    script = "(sha) => document.querySelector('#rail .rail').dataset.recipe === sha"
    page.wait_for_function(script, arg=project.sha256(wanted))


def wait_for_scores(page: Page, project: Project, wanted: Recipe) -> None:
    """Wait until the page shows this recipe measured on all validation images."""
    wait_for(page, project, wanted)
    at_rest(page)
    page.wait_for_function("!document.querySelector('#card-accuracy .card.stale')")


def test_the_first_look_has_its_pictures_and_needs_no_scrolling(page: Page) -> None:
    for name in ("map", "spectrum", "overlap", "angles"):
        assert page.locator(f"#card-{name} .fig .main-svg").first.is_visible()
    assert page.evaluate("document.scrollingElement.scrollHeight <= innerHeight")
    first = "[...document.querySelectorAll('#card-map, #card-spectrum, #card-overlap, #card-angles')]"
    assert page.evaluate(f"{first}.every((card) => card.getBoundingClientRect().bottom <= innerHeight)")
    label = page.locator("#card-map .fig").get_attribute("aria-label")
    assert "Selected:" in (label or "")


def test_a_click_on_a_cell_opens_its_spectrum_overlap_and_angles(page: Page, project: Project) -> None:
    spot = page.evaluate(
        """() => { const fig = document.querySelector('#card-map .fig'), box = fig.getBoundingClientRect();
        const heat = fig.data.filter((t) => t.type === 'heatmap')[1], l = fig._fullLayout;
        const x = box.x + l.xaxis._offset + l.xaxis.d2p(heat.x[2]);
        const y = box.y + l.yaxis._offset + l.yaxis.d2p(heat.y[1]);
        return {x, y, cell: heat.customdata[1][2]}; }"""
    )
    task, layer, _ = spot["cell"]
    page.mouse.click(spot["x"], spot["y"])
    label = project.layer(layer).label
    page.wait_for_function(
        "(text) => document.querySelector('#card-spectrum h2').innerText.startsWith(text)", arg=f"{label}, {task}"
    )
    assert page.locator("#card-overlap h2").inner_text() == f"Overlap at {label}"
    drawn = page.evaluate("document.querySelector('#card-spectrum .fig').data[0].y")
    record = project.spectrum(task, layer, project.recipe)
    assert drawn[0] == pytest.approx(100 * record.energy[0])


def test_a_knob_changes_the_numbers_to_the_pipelines(page: Page, project: Project) -> None:
    tab(page, 3)
    assert page.locator("#card-accuracy .card").get_attribute("data-card") == "accuracy"
    wanted = with_parameters(project.recipe, alpha=0.37, layer_exponent=0.5)
    slider(page, "alpha").evaluate(SLIDE, "0.37")
    slider(page, "layer_exponent").evaluate(SLIDE, "0.5")
    wait_for_scores(page, project, wanted)
    truth = project.evaluate(wanted, "validation")
    assert shown_means(page) == pytest.approx([100 * score.merged.accuracy for score in truth.tasks])
    assert page.locator("#stats .stat .n").first.inner_text().startswith(f"{100 * truth.mean('merged'):.1f} %")
    heat = page.evaluate("document.querySelector('#card-interference .fig').data[0].customdata[0][0][2]")
    assert heat == pytest.approx(project.merge(wanted).interference.directions[0][0])
    kept = project.agreement(wanted).same
    page.wait_for_selector(f"#stats >> text={len(project.tasks)} × {kept.n // len(project.tasks)} images")
    assert f"{100 * kept.accuracy:.1f} %" in page.locator("#stats .stat .n").last.inner_text()


def test_after_a_wild_drag_the_last_value_wins(page: Page, project: Project) -> None:
    tab(page, 3)
    values = [f"{(7 * step) % 40 / 10:.1f}" for step in range(50)] + ["1.3"]
    slider(page, "task_exponent").evaluate(WILD, values)
    page.wait_for_function("window.dragged")
    wanted = with_parameters(project.recipe, task_exponent=1.3)
    wait_for_scores(page, project, wanted)
    assert page.locator("[data-knob=task_exponent] .v").input_value() == "1.3"
    truth = project.evaluate(wanted, "validation")
    assert shown_means(page) == pytest.approx([100 * score.merged.accuracy for score in truth.tasks])


def test_pin_undo_and_the_history(page: Page, project: Project) -> None:
    tab(page, 3)
    page.keyboard.press("p")
    page.wait_for_selector("#states .badge.a")
    slider(page, "alpha").evaluate(SLIDE, "0.2")
    wait_for(page, project, with_parameters(project.recipe, alpha=0.2))
    page.wait_for_selector("#stats >> text=Against A")
    page.wait_for_function("document.querySelectorAll('#history li').length === 2")
    page.get_by_text("B − A", exact=True).click()
    page.wait_for_selector("#card-interference [role=radio][aria-checked=true] >> text=B − A")
    page.keyboard.press("u")
    wait_for(page, project, project.recipe)


def test_zoom_is_kept_and_the_theme_repaints(page: Page) -> None:
    box = page.locator("#card-spectrum .nsewdrag").bounding_box()
    assert box
    page.mouse.move(box["x"] + 60, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 180, box["y"] + 110, steps=4)
    page.mouse.up()
    zoomed = page.evaluate(RANGE)
    before = page.evaluate("document.querySelector('#card-spectrum .fig').layout.font.color")
    page.locator("[data-do=theme]").click()
    page.wait_for_function(
        "(old) => document.querySelector('#card-spectrum .fig').layout.font.color !== old", arg=before
    )
    assert page.evaluate(RANGE) == zoomed
    assert zoomed[0] > 0


def test_evaluate_measures_test_images_by_itself(page: Page, project: Project) -> None:
    tab(page, 4)
    page.wait_for_selector("#board tr.on")
    truth = project.evaluate(project.recipe, "test")
    row = page.locator("#board tr.on").inner_text()
    assert f"{100 * truth.mean('merged'):.1f}" in row
    assert "test images" in page.evaluate("document.querySelector('#card-bars .fig').layout.xaxis.title.text")


def test_an_export_downloads_and_the_command_line_agrees(
    page: Page, project: Project, recipe: Path, tmp_path: Path
) -> None:
    tab(page, 5)
    page.get_by_text("Write and check the model").click()
    page.wait_for_selector("text=The file is what you saw.")
    with page.expect_download() as caught:
        page.get_by_text("Download all, one zip").click()
    packed = tmp_path / "model.zip"
    caught.value.save_as(packed)
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path)
    model = next(tmp_path.rglob("model.safetensors"))
    command = [
        sys.executable,
        "-m",
        "esm_viz",
        "merge",
        str(recipe),
        "--out",
        str(tmp_path / "again"),
        "--device",
        "cpu",
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (mine, tensors), (theirs, again) = parts(model), parts(tmp_path / "again" / "model.safetensors")
    assert mine["__metadata__"]["esm_viz.recipe_sha256"] == project.sha256(project.recipe)
    assert (mine, tensors) == (theirs, again)
    assert str(tmp_path.anchor) + "tmp" not in next(tmp_path.rglob("recipe.yaml")).read_text()


def test_a_wrong_file_is_one_sentence_and_the_studio_lives_on(page: Page, project: Project, tmp_path: Path) -> None:
    tab(page, 1)
    wrong = tmp_path / "cars.safetensors"
    wrong.write_bytes(b"not a checkpoint")
    page.locator("#drop input[type=file]").set_input_files(wrong)
    page.wait_for_selector("#source .sentence.bad")
    sentence = page.locator("#source .sentence.bad").inner_text()
    assert re.fullmatch(
        r"no base model is among the files, name the pre-trained weights base, zeroshot or pretrained", sentence.strip()
    )
    tab(page, 3)
    slider(page, "alpha").evaluate(SLIDE, "0.6")
    wait_for(page, project, with_parameters(project.recipe, alpha=0.6))
