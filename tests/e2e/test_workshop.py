"""A lecture hall in a browser: the way in from a wall and a phone, the password, and the presenter's view."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import is_stranger, served, sync_api
from tests.e2e.test_accessibility import violations
from tests.e2e.test_studio import at_rest, tab

Page = sync_api.Page
SIZES = {"wall": (1920, 1080), "laptop": (1280, 720), "phone": (390, 844)}
FITS = "document.documentElement.scrollWidth <= innerWidth"


@pytest.fixture(scope="module")
def hall(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(recipe, tmp_path_factory.mktemp("hall"), "--workshop", "--auth", "hall:secret") as address:
        yield address


@pytest.fixture
def stranger(browser: sync_api.Browser) -> Iterator[Page]:
    """Return an empty page; afterwards nothing but this machine may have been asked."""
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if is_stranger(request.url) else None)
    yield page
    context.close()
    assert asked == []


@pytest.mark.parametrize("size", SIZES)
def test_the_landing_page_is_read_from_the_back_of_a_hall_and_from_a_phone(
    stranger: Page, hall: str, size: str
) -> None:
    width, height = SIZES[size]
    stranger.set_viewport_size({"width": width, "height": height})
    for theme in ("light", "dark"):
        stranger.goto(f"{hall}join?__theme={theme}")
        assert stranger.locator(".code").bounding_box()["width"] > (250 if size == "phone" else 0.37 * width)
        assert stranger.evaluate(FITS)
        assert violations(stranger) == []
        letters = stranger.evaluate("parseFloat(getComputedStyle(document.querySelector('.address')).fontSize)")
        assert letters > (24 if size == "phone" else height / 12)
    assert "secret" not in stranger.content()


def test_who_comes_is_asked_told_and_let_in(stranger: Page, hall: str) -> None:
    errors: list[str] = []
    stranger.on("pageerror", lambda error: errors.append(str(error)))
    stranger.goto(hall)
    assert violations(stranger) == []
    stranger.get_by_label("Name").fill("hall")
    stranger.get_by_label("Password").fill("guess")
    stranger.get_by_role("button", name="Come in").click()
    stranger.get_by_text("That is not the name and password. Try again.").wait_for()
    stranger.get_by_label("Password").fill("secret")
    stranger.get_by_role("button", name="Come in").click()
    stranger.wait_for_selector("#card-map .fig.js-plotly-plot .main-svg")
    stranger.wait_for_function("document.querySelector('#page-id textarea, #page-id input').value.length > 10")
    tab(stranger, 3)
    knob = stranger.locator('[data-knob="alpha"] input[type=range]')
    knob.focus()
    knob.press("ArrowRight")
    at_rest(stranger)
    assert stranger.locator(".job.bad").count() == 0
    stranger.goto(hall + "join")
    assert "here" in stranger.locator("#here").inner_text()
    assert errors == []


def test_the_presenters_view_shows_one_large_figure_the_knobs_and_the_way_in(page: Page) -> None:
    tab(page, 3)
    page.wait_for_selector("#card-accuracy .fig.js-plotly-plot .main-svg")
    size = "parseFloat(getComputedStyle(document.querySelector('#card-accuracy .ytick text')).fontSize)"
    before = page.evaluate(size)
    page.keyboard.press("v")
    page.wait_for_function(f"{size} >= 1.4 * {before}")
    assert page.locator("#merge > :visible").evaluate_all("all => all.map((one) => one.id)") == [
        *("rail", "stats", "card-accuracy")
    ]
    assert page.evaluate(
        "document.querySelector('#merge').scrollHeight <= document.querySelector('#merge').clientHeight"
    )
    lowest = page.locator('[data-knob="alpha"]').bounding_box()
    assert lowest["y"] + lowest["height"] < 720  # every knob is on screen
    assert "view=present" in page.url
    page.locator(".way svg").wait_for()
    assert page.locator(".way .at").inner_text() == page.evaluate("location.host")
    page.keyboard.press("PageDown")
    page.wait_for_selector("#card-interference .fig:visible .main-svg")
    page.keyboard.press("2")
    page.wait_for_selector("#card-map .fig:visible .main-svg")
    assert page.locator(".picks button.on").inner_text() == "Map"
    assert page.get_by_role("tab").evaluate_all("all => all.filter((one) => one.offsetParent).length") == 3
    page.emulate_media(reduced_motion="reduce")
    for dark in (False, True):
        page.evaluate("(dark) => studio.setTheme(dark)", dark)
        at_rest(page)
        page.wait_for_timeout(300)
        assert violations(page) == []
    page.keyboard.press("q")
    page.locator(".codes .this svg").wait_for()
    assert violations(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    page.wait_for_selector("#card-spectrum .fig:visible")
    assert "view=present" not in page.url
