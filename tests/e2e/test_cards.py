"""What every card can do: highlight a task, tell its numbers, fill the screen, be walked through by keys."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from esm_viz import with_parameters
from esm_viz.project.project import Project
from tests.e2e.conftest import sync_api
from tests.e2e.test_studio import RANGE, SLIDE, project, tab, wait_for

__all__ = ["project"]  # the fixture

Page = sync_api.Page
LIT = "(task) => { const lit = studio.highlight.active(); return task ? lit.includes(task) : !lit.length; }"
VEILED = """([card, task]) => { const fig = document.querySelector(`#card-${card} .fig`), l = fig._fullLayout;
  const path = fig.parentElement.querySelector('.veil'), at = l.meta.rows.indexOf(task);
  const inside = (row) => path.isPointInFill(new DOMPoint(l.xaxis._offset + 3, l.yaxis._offset + l.yaxis.d2p(row)));
  return l.meta.rows.map((name, row) => inside(row)); }"""
SPOT = """([card, x, y]) => { const fig = document.querySelector(`#card-${card} .fig`), l = fig._fullLayout;
  const box = fig.getBoundingClientRect(), place = (axis, value) => axis._offset + axis.d2p(value);
  return [box.x + place(l.xaxis, x), box.y + place(l.yaxis, y)]; }"""
OPACITY = """() => { const fig = document.querySelector('#card-subspaces .fig'), seen = {};
  const node = (trace) => fig.querySelector(`.trace[class*="${trace.uid}"]`);
  const marks = fig._fullData.filter((trace) => trace.meta?.tasks);
  for (const trace of marks) seen[trace.meta.tasks[0]] = +getComputedStyle(node(trace)).opacity;
  return seen; }"""
GRID = (
    "() => [...document.querySelectorAll('#card-map .numbers tr')].map((r) => [...r.cells].map((c) => c.textContent))"
)


def hover(page: Page, card: str, x: float, y: float) -> None:
    """Move the mouse to a place of a picture, in the units of its axes."""
    left, top = page.evaluate(SPOT, [card, x, y])
    page.mouse.move(left - 6, top)
    page.mouse.move(left, top, steps=2)


def drag(page: Page, plot: str, *stops: tuple[float, float]) -> None:
    """Drag the mouse from place to place of an element, in pixels of it."""
    box: Any = page.locator(plot).bounding_box()
    for at, (x, y) in enumerate(stops):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=4)
        if at == 0:
            page.mouse.down()
    page.mouse.up()


def saved(page: Page, card: str, kind: str, folder: Path) -> Path:
    """Save a card's picture or numbers by its menu."""
    page.locator(f"#card-{card} .take summary").click()
    with page.expect_download() as caught:
        page.locator(f"#card-{card} [data-as={kind}]").click()
    path = folder / caught.value.suggested_filename
    caught.value.save_as(path)
    return path


def test_hovering_a_row_keeps_its_task_in_every_picture(page: Page, project: Project) -> None:
    task, other = project.tasks[1], project.tasks[0]
    page.wait_for_function("document.querySelector('#card-subspaces .main-svg')")
    hover(page, "map", 2, 1)
    page.wait_for_function(LIT, arg=task)
    assert page.evaluate(VEILED, ["map", task]) == [name != task for name in project.tasks]
    assert page.evaluate(OPACITY) == {name: 1 if name == task else 0.25 for name in project.tasks}
    assert page.evaluate(VEILED, ["overlap", other])[0]
    page.mouse.move(640, 74)
    page.wait_for_function(LIT, arg="")
    assert not any(page.evaluate(VEILED, ["map", task]))
    assert set(page.evaluate(OPACITY).values()) == {1}


def test_a_row_of_a_table_that_names_a_task_highlights_it_too(page: Page, project: Project) -> None:
    script = """(task) => { const row = document.createElement('button'); row.id = 'probe'; row.dataset.task = task;
      row.textContent = task; document.querySelector('#card-map .how').append(row); row.focus(); }"""
    page.evaluate(script, project.tasks[2])
    page.wait_for_function(LIT, arg=project.tasks[2])
    assert page.evaluate(VEILED, ["map", ""]) == [True, True, False]
    page.evaluate("document.querySelector('#probe').remove()")


def test_a_highlight_outlives_a_repaint(page: Page, project: Project) -> None:
    tab(page, 3)
    page.wait_for_selector("#card-interference .main-svg")
    hover(page, "interference", 2, 1)
    page.wait_for_function(LIT, arg=project.tasks[1])
    before = page.evaluate("studio.painted.interference.v")
    page.locator("[data-knob=alpha] input[type=range]").evaluate(SLIDE, "0.31")
    page.wait_for_function("(v) => studio.painted.interference.v > v", arg=before)
    assert page.evaluate(VEILED, ["interference", ""]) == [True, False, True]


def test_t_shows_the_numbers_of_a_picture_and_escape_the_picture(page: Page, project: Project) -> None:
    page.locator("#card-map .fig").focus()
    page.keyboard.press("t")
    page.locator("#card-map .numbers table").wait_for()
    shown = page.evaluate(GRID)
    record = project.layer_map("rank90", project.recipe)
    wanted = [
        [task, layer.label, f"{value:g}"]
        for task, row in zip(record.tasks, record.values, strict=True)
        for layer, value in zip(record.layers, row, strict=True)
    ]
    assert shown[0] == ["task", "layer", "Rank for 90 % energy"]
    assert sorted(shown[1:]) == sorted(wanted)
    assert page.evaluate("document.activeElement.matches('#card-map .numbers')")
    page.keyboard.press("Escape")
    assert page.locator("#card-map .numbers").is_hidden()
    assert page.evaluate("document.activeElement.matches('#card-map .fig')")


def test_the_csv_holds_the_numbers_under_their_names(page: Page, project: Project, tmp_path: Path) -> None:
    rows = list(csv.reader(io.StringIO(saved(page, "spectrum", "csv", tmp_path).read_text("utf-8"))))
    assert rows[0] == ["series", "directions kept, k", "energy kept, %"]
    task, layer = page.evaluate("document.querySelector('#card-spectrum .fig').data[0].meta.tasks[0]"), None
    title = page.locator("#card-spectrum h2").inner_text()
    layer = next(layer for layer in project.layers if title.startswith(f"{layer.label},"))
    record = project.spectrum(task, layer.name, project.recipe)
    first = {row[0]: float(row[2]) for row in rows[1:] if row[1] == "1"}
    assert first == pytest.approx({"ESD": 100 * record.energy[0], "SVD": 100 * record.energy_svd[0]})


def test_the_csv_of_accuracies_has_intervals_and_experts(page: Page, project: Project, tmp_path: Path) -> None:
    tab(page, 3)
    page.wait_for_function("document.querySelector('#card-accuracy .fig')?.layout?.xaxis.title.text.includes('256')")
    rows = list(csv.reader(io.StringIO(saved(page, "accuracy", "csv", tmp_path).read_text("utf-8"))))
    assert rows[0] == ["task", "images", "accuracy, %", "from", "to", "own expert, %"]
    score = project.evaluate(project.recipe, "validation").tasks[0]
    shares = (score.merged.accuracy, *score.merged.interval, score.finetuned.accuracy)
    assert rows[1][:2] == [score.task, str(score.merged.n)]
    assert [float(cell) for cell in rows[1][2:]] == pytest.approx([100 * share for share in shares])


def test_a_name_that_looks_like_a_formula_is_saved_as_text(page: Page) -> None:
    script = (
        """() => studio.csv({data: [], layout: {meta: {table: [["task", "x"], ["=1+1", -2], ['a "b", c', null]]}}})"""
    )
    assert page.evaluate(script) == 'task,x\n\'=1+1,-2\n"a ""b"", c",\n'


def test_a_saved_picture_carries_title_sentence_recipe_and_version(
    page: Page, project: Project, tmp_path: Path
) -> None:
    path = saved(page, "spectrum", "svg", tmp_path)
    text, sha = path.read_text("utf-8"), project.sha256(project.recipe)[:8]
    assert path.name == f"esm_viz-spectrum-{sha}.svg"
    assert "The higher the line at r, the less is lost." in text
    assert f", recipe {sha}" in text
    assert "esm_viz 0." in text
    assert page.locator("#card-spectrum h2").inner_text().split(",")[0] in text
    assert "var(--" not in text


def test_arrows_walk_through_a_map_and_enter_selects(page: Page, project: Project) -> None:
    page.locator("#card-map .fig").focus()
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    page.wait_for_function("document.querySelector('#card-map .said').textContent.includes('directions for 90 %')")
    said = page.locator("#card-map .said").inner_text()
    page.keyboard.press("Enter")
    task, label = said.split(", ")[:2]
    assert task in project.tasks
    page.wait_for_function(
        "(text) => document.querySelector('#card-spectrum h2').innerText.startsWith(text)", arg=f"{label}, {task}"
    )


def test_f_fills_the_screen_stays_live_and_escape_leaves(page: Page) -> None:
    small = page.evaluate("document.querySelector('#card-spectrum .fig').layout.font.size")
    page.locator("#card-spectrum .fig").focus()
    page.keyboard.press("f")
    page.wait_for_function("document.querySelector('#card-spectrum .fig')._fullLayout.width > 1100")
    box: Any = page.locator("#card-spectrum .card").bounding_box()
    assert (box["x"], box["y"], box["width"], box["height"]) == (0, 0, 1280, 720)
    assert page.evaluate("document.querySelector('#card-spectrum .fig').layout.font.size") == 1.5 * small
    assert page.evaluate("document.querySelector('#bar').closest('[inert]') !== null")
    page.locator("#card-spectrum .slide input").evaluate(SLIDE, "0.5")
    page.wait_for_function("document.querySelector('#card-spectrum .slide output').textContent.startsWith('0.5')")
    page.wait_for_function("(r) => document.querySelector('#card-spectrum .fig').layout.shapes[0].x0 !== r", arg=0)
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('#card-spectrum .fig')._fullLayout.width < 600")
    assert page.evaluate("document.querySelector('[inert]') === null")
    assert page.evaluate("document.querySelector('#card-spectrum .fig').layout.font.size") == small


def test_a_tab_key_leaves_the_filled_screen(page: Page) -> None:
    page.locator("#card-spectrum .fig").focus()
    page.keyboard.press("f")
    page.wait_for_selector(".card.present")
    tab(page, 3)
    assert page.evaluate("document.querySelector('.card.present, [inert]') === null")


def test_the_question_mark_lists_the_keys(page: Page) -> None:
    page.keyboard.press("?")
    page.locator("dialog.keys").wait_for()
    assert "pin B as A" in page.locator("dialog.keys").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("dialog.keys").is_hidden()


def test_the_rank_line_moves_with_its_knob_and_zoom_is_kept(page: Page, project: Project) -> None:
    drag(page, "#card-spectrum .nsewdrag", (40, 30), (200, 110))
    zoomed = page.evaluate(RANGE)
    before = page.evaluate("document.querySelector('#card-spectrum .fig').layout.shapes[0].x0")
    page.locator("#card-spectrum .slide input").evaluate(SLIDE, "0.5")
    page.wait_for_function("(r) => document.querySelector('#card-spectrum .fig').layout.shapes[0].x0 < r", arg=before)
    assert page.evaluate(RANGE) == zoomed
    assert zoomed[0] > 0
    tab(page, 3)
    wait_for(page, project, with_parameters(project.recipe, rank_ratio=0.5))
    assert page.locator("[data-knob=rank_ratio] .v").input_value().startswith("0.5")
