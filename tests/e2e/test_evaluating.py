"""Evaluate as a visitor uses it: pin, move α, see what flipped, what is confused, and every method's row."""

from __future__ import annotations

from pathlib import Path

import pytest

from esm_viz import load_recipe, with_parameters
from esm_viz.project.project import Project
from tests.e2e.conftest import sync_api
from tests.e2e.test_studio import SLIDE, slider, tab

Page = sync_api.Page
LONG = 900_000  # ms: ten methods, each with a search, on a busy machine


@pytest.fixture(scope="module")
def project(recipe: Path) -> Project:
    return Project.open(load_recipe(recipe), device="cpu")


def test_flips_from_a_to_b_are_the_pipelines_and_a_click_tells_both_answers(page: Page, project: Project) -> None:
    tab(page, 3)
    page.keyboard.press("p")
    page.wait_for_selector("#states .badge.a")
    slider(page, "alpha").evaluate(SLIDE, "0.2")
    page.wait_for_function("document.querySelectorAll('#history li').length > 1")
    tab(page, 4)
    task = project.tasks[1]
    page.locator(".flips select").select_option(task)
    found = project.flips(project.recipe, with_parameters(project.recipe, alpha=0.2), task)
    page.wait_for_selector(f".flips >> text={len(found.became_right)} became right")
    said = page.locator(".flips").inner_text()
    assert f"{len(found.became_wrong)} became wrong" in said
    assert f"{found.both_right} right with both, {found.both_wrong} wrong with both, of {found.n} test images." in said
    first = page.locator(".flips .thumb").first
    flip = {flip.index: flip for flip in (*found.became_right, *found.became_wrong)}[
        int(first.get_attribute("data-index") or -1)
    ]
    first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".flips .thumb[aria-pressed=true]")
    answers = " ".join(page.locator(".flips .answers").inner_text().split())
    true, a, b = (found.classes[at] for at in (flip.label, flip.a, flip.b))
    assert f"true class {true}. Model Prediction Score A {a}" in answers
    assert f"{100 * flip.a_probability:.0f} % B {b}" in answers
    assert page.evaluate("document.activeElement.dataset.index") == str(flip.index)


def test_the_confusion_of_a_task_is_the_pipelines(page: Page, project: Project) -> None:
    tab(page, 4)
    task = project.tasks[2]
    page.locator("#card-confusion select").select_option(task)
    page.wait_for_function(
        "(task) => studio.painted.confusion && document.querySelector('#card-confusion h2').textContent.endsWith(task)"
        " && !studio.painted.confusion.stale",
        arg=task,
    )
    drawn = page.evaluate("document.querySelector('#card-confusion .fig').data[0].customdata")
    counts = project.confusion(project.recipe, task).counts
    assert [[cell[2] for cell in row] for row in drawn] == [list(row) for row in counts]


def test_methods_get_rows_that_a_cancel_keeps_and_a_click_uses(page: Page) -> None:
    tab(page, 4)
    page.wait_for_selector("#board tr.on")
    page.locator("#board [data-do=compare]").click()
    page.wait_for_selector("#board tr:has-text('Task Arithmetic')", timeout=LONG)
    page.locator("#bar [data-do=cancel]").click()
    page.wait_for_selector("#board [data-do=compare]:not([aria-disabled])")
    page.locator("#board tr button:has-text('Task Arithmetic')").click()
    page.wait_for_selector("#board tr.on:has-text('Task Arithmetic')")
    page.wait_for_selector("#states :text('Task Arithmetic')")
