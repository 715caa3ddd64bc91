"""Searches over knobs as a visitor makes them: drawn, swept, tuned, stopped, and every click becomes the recipe."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from esm_viz import load_recipe, with_parameters
from esm_viz.core.recipe import Recipe
from esm_viz.project.project import Project
from tests.e2e.conftest import sync_api

Page = sync_api.Page
PATIENCE = 240_000  # ms, for a search on a busy machine
# Where a mark of a figure is on the screen, brought into view first.
PLACE = """([name, trace, x, y]) => { const fig = document.querySelector(`#card-${name} .fig`), l = fig._fullLayout;
  fig.scrollIntoView({block: 'center'}); const box = fig.getBoundingClientRect(), t = fig.data.at(trace);
  return {x: box.x + l.xaxis._offset + l.xaxis.d2p(x), y: box.y + l.yaxis._offset + l.yaxis.d2p(y)}; }"""

# A list shows this value, and as the server painted it: the value stands in the page's source.
CHOSEN = """([control, value]) =>
  document.querySelector(`[data-do=${control}] option[selected]`)?.value === value"""


@pytest.fixture(scope="module")
def project(recipe: Path) -> Project:
    return Project.open(load_recipe(recipe), device="cpu")


@pytest.fixture
def merge(page: Page) -> Page:
    """Open the Merge tab and wait until what it opens with is measured."""
    page.set_default_timeout(PATIENCE)
    page.keyboard.press("3")
    page.wait_for_selector("#studio-tabs [role=tab]:nth-child(3).selected")
    at_rest(page)
    return page


def at_rest(page: Page) -> None:
    page.wait_for_function("document.querySelector('.job')?.innerText.trim() === 'Up to date'")


def trace(page: Page, card: str, at: int) -> dict[str, Any]:
    script = "([name, at]) => { const t = document.querySelector(`#card-${name} .fig`).data.at(at);"
    found: dict[str, Any] = page.evaluate(script + "return {x: t.x, y: t.y, customdata: t.customdata}; }", [card, at])
    return found


def click_mark(page: Page, card: str, at: int, x: float, y: float) -> None:
    place = page.evaluate(PLACE, [card, at, x, y])
    page.mouse.move(place["x"] - 3, place["y"])
    page.mouse.click(place["x"], place["y"])


def wait_for(page: Page, project: Project, wanted: Recipe) -> None:
    script = "(sha) => document.querySelector('#rail .rail').dataset.recipe === sha"
    page.wait_for_function(script, arg=project.sha256(wanted))


def choose(page: Page, control: str, value: str) -> None:
    page.select_option(f"[data-do={control}]", value)
    page.wait_for_function(CHOSEN, arg=[control, value])


def test_the_cards_of_searches_lie_below_the_first_screen_beside_a_rail_that_stays(merge: Page) -> None:
    first = "[...document.querySelectorAll('#stats, #card-accuracy, #card-norms, #history')]"
    assert merge.evaluate(f"{first}.every((card) => card.getBoundingClientRect().bottom <= innerHeight)")
    top = merge.evaluate("document.querySelector('#card-curve').getBoundingClientRect().top")
    assert top >= 700
    rail = "(({top, bottom}) => [top, bottom])(document.querySelector('#rail').getBoundingClientRect())"
    before = merge.evaluate(rail)
    merge.locator("#card-sweep").scroll_into_view_if_needed()
    assert merge.evaluate("document.querySelector('#card-sweep').getBoundingClientRect().bottom <= innerHeight + 1")
    assert merge.evaluate(rail) == pytest.approx(before, abs=1)  # px, the last scroll ends between two


def test_a_click_on_the_curve_over_alpha_sets_that_alpha(merge: Page, project: Project) -> None:
    merge.locator("[data-do=draw]").click()
    merge.wait_for_selector("#card-curve [data-do=halt]")
    at_rest(merge)
    mean = trace(merge, "curve", -1)
    assert mean["x"] == sorted({project.recipe.parameters["alpha"], *(at / 4 for at in range(13))})
    wanted, at = with_parameters(project.recipe, alpha=1.5), mean["x"].index(1.5)
    truth = project.evaluate(wanted, "validation")
    assert mean["y"][at] == pytest.approx(100 * truth.mean("merged"))
    tasks = [trace(merge, "curve", task)["y"][at] for task in range(len(project.tasks))]
    assert tasks == pytest.approx([100 * score.merged.accuracy for score in truth.tasks])
    click_mark(merge, "curve", -1, 1.5, mean["y"][at])
    wait_for(merge, project, wanted)


def test_a_click_on_a_cell_of_a_sweep_uses_it(merge: Page, project: Project, tmp_path: Path) -> None:
    choose(merge, "sweep-knob", "alpha_scope")
    choose(merge, "sweep-against", "gain")
    merge.locator("[data-do=sweep]").click()
    merge.wait_for_selector("#card-sweep [data-do=halt]")
    at_rest(merge)
    heat = trace(merge, "sweep", 0)
    gains = project.spaced(project.recipe, "gain", 5)
    points = [(scope, gain) for scope in ("all", "essential") for gain in gains]
    shown = [cell[2] for row in heat["customdata"] for cell in row]
    for at in (3, 9):
        own = with_parameters(project.recipe, alpha_scope=points[at][0], gain=points[at][1])
        assert shown[at] == pytest.approx(100 * project.evaluate(own, "validation").mean("merged"))
    merge.locator("#card-sweep summary").click()
    with merge.expect_download() as caught:
        merge.locator("#card-sweep [data-as=csv]").click()
    caught.value.save_as(tmp_path / "sweep.csv")
    with (tmp_path / "sweep.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(line["alpha_scope"], float(line["gain"])) for line in lines] == points
    assert [float(line["mean accuracy"]) for line in lines] == pytest.approx([value / 100 for value in shown])
    click_mark(merge, "sweep", 0, 4, 1)
    wait_for(merge, project, with_parameters(project.recipe, alpha_scope="essential", gain=gains[4]))


def test_tuning_leaves_a_trace_and_its_trials_can_be_used(merge: Page, project: Project) -> None:
    choose(merge, "tune-trials", "5")
    merge.locator("[data-do=tune]").click()
    merge.wait_for_selector("#card-tuning [data-do=halt]")
    at_rest(merge)
    points = trace(merge, "tuning", 1)
    truth = project.search_knobs(project.recipe, None, 5)
    assert points["x"] == [1, 2, 3, 4, 5]
    floor = min(value for value in points["y"] if value is not None)
    for value, trial in zip(points["y"], truth.trials, strict=True):
        assert value is None if math.isnan(trial.value) else value == pytest.approx(max(100 * trial.value, floor))
    best = truth.best if truth.best else next(at for at in range(1, 5) if not math.isnan(truth.trials[at].value))
    click_mark(merge, "tuning", 1, best + 1, points["y"][best])
    wait_for(merge, project, with_parameters(project.recipe, **truth.trials[best].parameters))


def test_a_stopped_sweep_keeps_its_cells_and_the_page_lives(merge: Page, project: Project) -> None:
    choose(merge, "sweep-knob", "layer_exponent")
    choose(merge, "sweep-against", "gain")
    choose(merge, "sweep-steps", "13")  # 169 cells: more than any machine measures before the page shows a few
    merge.locator("[data-do=sweep]").click()
    merge.wait_for_selector("#card-sweep .controls .chip >> text=/([3-9]|[0-9]{2}) of 169 cells/")
    merge.locator("#card-sweep [data-do=halt]").click()
    merge.wait_for_selector("#card-sweep .controls .chip >> text=Stopped at")
    words = merge.locator("#card-sweep .controls .chip").first.inner_text()
    kept = sum(cell[2] is not None for row in trace(merge, "sweep", 0)["customdata"] for cell in row)
    assert 3 <= kept < 169
    assert words.startswith(f"Stopped at {100 * kept // 169} %. Shown: {kept} of 169 cells.")
    merge.locator("[data-knob=alpha] input[type=range]").evaluate(
        "(input) => { input.value = 0.5; input.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    wait_for(merge, project, with_parameters(project.recipe, alpha=0.5))
    at_rest(merge)
    merge.wait_for_selector("#card-sweep .controls .chip >> text=/for α 0.73/")
