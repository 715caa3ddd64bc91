"""The Merge tab in Chromium: every knob of ESM against the pipeline, presets, words, and what fits a laptop."""

from __future__ import annotations

from pathlib import Path

import pytest

from esm_viz import load_recipe, with_parameters, with_preset
from esm_viz.figures.number_format import short
from esm_viz.project.project import Project
from tests.e2e.conftest import sync_api
from tests.e2e.test_studio import SLIDE, slider, tab, wait_for, wait_for_scores

Page = sync_api.Page
MOVES = {
    "rank_ratio": 0.5,
    "spectrum_exponent": 0.4,
    "task_exponent": 1.0,
    "dimension_exponent": 0.5,
    "layer_exponent": 1.0,
    "alpha": 0.4,
}
HEAT = """() => document.querySelector('#card-interference .fig').data.filter((t) => t.type === 'heatmap')
  .map((t) => t.customdata.map((row) => row.map((cell) => cell[2])))"""
MEANS_ARE = """(means) => document.querySelector('#card-interference .fig').data.some((t) => t.type === 'bar'
  && t.x.every((x, at) => Math.abs(10 ** x - means[at]) <= 1e-6 * means[at]))"""


@pytest.fixture(scope="module")
def project(recipe: Path) -> Project:
    return Project.open(load_recipe(recipe), device="cpu")


def formula(page: Page, name: str) -> str:
    return page.locator(f"[data-knob={name}] .f").inner_text()


def show_both(page: Page) -> None:
    """Show direction and size as one number."""
    page.locator("#card-interference").get_by_role("radio", name="Both").click()
    page.wait_for_function("document.querySelector('#card-interference .fig').data.some((t) => t.type === 'bar')")


def test_each_knob_of_esm_changes_the_picture_to_the_pipelines(page: Page, project: Project) -> None:
    tab(page, 3)
    show_both(page)
    wanted = project.recipe
    for name, value in MOVES.items():
        before = page.evaluate(HEAT)
        wanted = with_parameters(wanted, **{name: value})
        slider(page, name).evaluate(SLIDE, str(value))
        wait_for(page, project, wanted)
        page.wait_for_function("(old) => JSON.stringify((" + HEAT + ")()) !== JSON.stringify(old)", arg=before)
        truth = project.merge(wanted)
        page.wait_for_function(MEANS_ARE, arg=list(truth.interference.means))
        norms = page.evaluate("document.querySelector('#card-norms .fig').data.map((t) => [t.name, t.y])")
        drawn = sorted(y for title, ys in norms for y in ys if title == "after")
        assert drawn == pytest.approx(sorted(truth.norms.after))
        if name in truth.effects and name not in ("alpha", "rank_ratio"):
            assert formula(page, name).endswith(" to ".join(map(short, truth.effects[name])))
    wait_for_scores(page, project, wanted)


def test_a_preset_is_chosen_and_lost_with_the_next_knob(page: Page, project: Project) -> None:
    tab(page, 3)
    menu = page.get_by_label("Preset")
    assert menu.input_value() == "esm_journal"
    menu.select_option("esm_unscaled")
    wanted = with_preset(project.recipe, "esm_unscaled")
    wait_for(page, project, wanted)
    assert formula(page, "task_exponent") == "No effect: this level is off."
    slider(page, "task_exponent").evaluate(SLIDE, "1.5")
    wait_for(page, project, with_parameters(wanted, task_exponent=1.5))
    page.wait_for_function("document.querySelector('#rail select').value === ''")
    assert menu.evaluate("(select) => select.selectedOptions[0].textContent") == "ESM, own setting"
    page.get_by_text("Reset all", exact=True).click()
    page.wait_for_function("document.querySelector('#rail select').value === 'esm_journal'")


def test_the_differences_are_told_in_words_and_the_bars_stand_against_a(page: Page, project: Project) -> None:
    tab(page, 3)
    show_both(page)
    page.keyboard.press("p")
    page.wait_for_selector("#states .badge.a")
    slider(page, "dimension_exponent").evaluate(SLIDE, "0.5")
    wanted = with_parameters(project.recipe, dimension_exponent=0.5)
    wait_for_scores(page, project, wanted)
    page.get_by_role("radio", name="In words").click()
    page.wait_for_selector("#history .words li")
    told = page.locator("#history .words li").all_inner_texts()
    assert len(told) == 3
    assert told[0].replace("\n", " ") == "Dimension power pdim 2 → 0.5"
    means = [project.merge(each).interference.mean for each in (project.recipe, wanted)]
    assert told[2].endswith(f"{means[0]:.2f} → {means[1]:.2f}")
    marks = page.evaluate("document.querySelector('#card-interference .fig').data.at(-1).x.map((x) => 10 ** x)")
    assert marks == pytest.approx(project.merge(project.recipe).interference.means)


STRIP = """() => {
    const strip = document.querySelector('#stats .strip');
    const parts = [...strip.children].map((part) => part.getBoundingClientRect());
    const texts = [...strip.querySelectorAll('*')].filter((part) => part.innerText);
    return {
        middles: parts.map((part) => Math.round((part.top + part.bottom) / 2)),
        room: strip.getBoundingClientRect().right - Math.max(...parts.map((part) => part.right)),
        smallest: Math.min(...texts.map((part) => parseFloat(getComputedStyle(part).fontSize))),
        cut: texts.filter((part) => part.scrollWidth > part.clientWidth + 1 && part.clientWidth).length,
    };
}"""


def test_the_numbers_stand_in_one_row_beside_a_pinned_state(page: Page) -> None:
    """Also while only some images are measured, which takes the longest words."""
    tab(page, 3)
    page.keyboard.press("p")
    page.wait_for_selector("#states .badge.a")
    page.evaluate(
        "window.rows = []; new MutationObserver(() => window.rows.push(document.querySelector('#stats .strip')"
        ".getBoundingClientRect().height)).observe(document.querySelector('#stats'), {childList: true, subtree: true})"
    )
    slider(page, "alpha").evaluate(SLIDE, "0.2")
    page.wait_for_selector("#stats >> text=Points against A")
    page.wait_for_selector("#stats >> text=Mean on 256 validation images")
    now = page.evaluate(STRIP)
    assert len(now["middles"]) == 5
    assert max(now["middles"]) - min(now["middles"]) <= 2
    assert now["room"] >= 0
    assert now["smallest"] >= 13
    assert now["cut"] == 0
    heights = page.evaluate("window.rows")
    assert len({round(height) for height in heights}) == 1


def test_all_levels_of_scaling_are_shown_on_demand(page: Page, project: Project) -> None:
    tab(page, 3)
    page.get_by_role("radio", name="All levels").click()
    page.wait_for_function("new Set(document.querySelector('#card-norms .fig').data.map((t) => t.name)).size === 5")
    drawn = page.evaluate("document.querySelector('#card-norms .fig').data.flatMap((t) => t.y)")
    truth = project.scaling_profile(project.recipe)
    assert sorted(drawn) == pytest.approx(sorted(value for row in truth.norms for value in row))


@pytest.mark.parametrize("preset", ["esm_journal", "esmpp_32"])
def test_all_knobs_and_more_fit_a_laptop_without_scrolling(page: Page, project: Project, preset: str) -> None:
    tab(page, 3)
    page.get_by_label("Preset").select_option(preset)
    wait_for(page, project, with_preset(project.recipe, preset))
    fits = "(rail) => rail.scrollHeight <= rail.clientHeight + 1 && rail.getBoundingClientRect().bottom <= innerHeight"
    assert page.locator("#rail .rail").evaluate(fits)
    assert page.locator("#rail summary").is_visible()


def test_an_unchanged_figure_is_not_drawn_again(page: Page, project: Project) -> None:
    tab(page, 3)
    wait_for_scores(page, project, project.recipe)
    page.evaluate(
        """() => { window.drawn = []; const react = Plotly.react;
        Plotly.react = (box, ...rest) => { drawn.push(box.closest('[data-card]').dataset.card);
          return react(box, ...rest); }; }"""
    )
    slider(page, "alpha").evaluate(SLIDE, "0.44")
    wait_for(page, project, with_parameters(project.recipe, alpha=0.44))
    page.wait_for_function("drawn.includes('interference')")
    assert "norms" not in page.evaluate("drawn")  # α is not in them
