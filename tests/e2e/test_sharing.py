"""One project in several pages: reload, second tab, share link, in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.e2e.conftest import free_port, served, sync_api

Page = sync_api.Page
ID = "() => document.querySelector('#page-id textarea, #page-id input')?.value"
READY = f"(({ID})() ?? '').length > 10"
KEPT = "() => Object.keys(localStorage).some((key) => key.startsWith('esm_viz.session'))"
SLIDE = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})); }"
REST = "document.querySelector('.job')?.innerText.trim() === 'Up to date'"
STATE = "document.querySelector('[data-do=share]').dataset.state"
CELL = "() => document.querySelector('#card-spectrum h2').textContent"


def go(page: Page, number: int) -> None:
    page.keyboard.press(str(number))
    page.wait_for_selector(f"#studio-tabs [role=tab]:nth-child({number}).selected")


def value(page: Page, knob: str) -> str:
    page.wait_for_selector(f"[data-knob={knob}] input[type=range]")
    return page.locator(f"[data-knob={knob}] input[type=range]").input_value()


def turn(page: Page, knob: str, to: float) -> None:
    page.wait_for_selector(f"[data-knob={knob}] input[type=range]")
    page.locator(f"[data-knob={knob}] input[type=range]").evaluate(SLIDE, to)


def shown(page: Page, knob: str, to: float) -> None:
    """Wait until a knob stands at a value."""
    page.wait_for_function(f"document.querySelector('[data-knob={knob}] input[type=range]')?.value == {to}")


def settled(page: Page) -> None:
    """Wait until the page knows its session, keeps it, and shows it."""
    page.wait_for_selector("#card-map .fig.js-plotly-plot .main-svg", state="attached")
    page.wait_for_function(READY)
    page.wait_for_function(KEPT)
    page.wait_for_function("!document.documentElement.classList.contains('returning')")


@pytest.fixture
def visitor(page: Page) -> Page:
    settled(page)
    return page


@pytest.fixture
def second(visitor: Page, address: str) -> Iterator[Page]:
    """Return another tab of the same browser."""
    tab = visitor.context.new_page()
    tab.set_default_timeout(180_000)
    tab.goto(address + "?__theme=light")
    settled(tab)
    yield tab
    tab.close()


def test_a_reload_keeps_the_tab_the_knob_and_the_selection(visitor: Page) -> None:
    before = visitor.evaluate(ID)
    visitor.locator("#card-map .fig").focus()
    was = visitor.evaluate(CELL)
    for key in ("ArrowUp", "ArrowUp", "Enter"):  # the first one starts at what is selected
        visitor.keyboard.press(key)
    visitor.wait_for_function(f"({CELL})() !== {was!r}")
    chosen = visitor.evaluate(CELL)
    go(visitor, 3)
    turn(visitor, "alpha", 0.42)
    visitor.wait_for_function(REST)
    visitor.reload()
    settled(visitor)
    visitor.wait_for_selector("#studio-tabs [role=tab]:nth-child(3).selected")
    shown(visitor, "alpha", 0.42)
    assert visitor.evaluate(ID) == before
    go(visitor, 2)
    visitor.wait_for_function(f"({CELL})() === {chosen!r}")
    go(visitor, 3)
    visitor.wait_for_selector("[data-do=undo]:not([aria-disabled])")  # a recipe is remembered once it is measured
    visitor.keyboard.press("u")
    visitor.wait_for_function("document.querySelector('[data-knob=alpha] input[type=range]').value != 0.42")


def test_a_second_tab_shows_the_same_project_and_what_one_does_the_other_shows(visitor: Page, second: Page) -> None:
    assert second.evaluate(ID) == visitor.evaluate(ID)
    go(second, 3)
    go(visitor, 3)
    visitor.bring_to_front()
    turn(visitor, "task_exponent", 1.3)
    visitor.wait_for_function(REST)
    second.bring_to_front()
    second.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # headless tabs are never hidden
    shown(second, "task_exponent", 1.3)
    turn(second, "alpha", 0.51)
    second.wait_for_function(REST)
    visitor.bring_to_front()
    visitor.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    shown(visitor, "alpha", 0.51)


def test_a_share_link_restores_it_all_in_another_browser(visitor: Page, browser: sync_api.Browser) -> None:
    go(visitor, 3)
    visitor.click("text=Pin B as A")
    visitor.wait_for_selector("#states .badge.a")
    visitor.locator(".rail .pick select").select_option("ties")
    visitor.wait_for_selector("[data-knob=keep]")
    turn(visitor, "keep", 0.3)
    visitor.wait_for_function(REST)
    visitor.click("[data-do=share]")
    visitor.wait_for_selector(".share-link:popover-open .state:not(:empty)")
    link = visitor.input_value(".share-link .address")
    visitor.keyboard.press("Escape")
    assert visitor.evaluate("document.activeElement.dataset.do") == "share"
    asked = parse_qs(urlsplit(link).query)
    assert asked["tab"] == ["Merge"]
    assert visitor.evaluate(ID) not in link
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    other = context.new_page()
    other.set_default_timeout(180_000)
    failures: list[str] = []
    other.on("pageerror", lambda error: failures.append(str(error)))
    other.goto(link)
    settled(other)
    other.wait_for_selector("#studio-tabs [role=tab]:nth-child(3).selected")
    shown(other, "keep", 0.3)
    assert other.locator(".rail .pick select option:checked").inner_text() == "TIES, own setting"
    other.wait_for_selector("#states .badge.a")
    assert "state=" not in other.url
    assert other.evaluate(ID) != visitor.evaluate(ID)
    assert other.evaluate(CELL) == visitor.evaluate(CELL)
    assert not other.locator(".notice").count()
    assert failures == []
    context.close()


def test_a_broken_link_is_one_sentence_and_the_page_opens(browser: sync_api.Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(180_000)
    page.goto(address + '?state={"project":"Birds","files":"0","method":"esm"}')
    settled(page)
    assert "This link is for Birds" in page.locator(".notice").inner_text()
    assert page.locator("#card-map .main-svg").first.is_visible()
    page.click("[data-do=dismiss]")
    page.wait_for_selector(".notice", state="detached")
    page.close()


def test_starting_afresh_gives_another_session(visitor: Page) -> None:
    before = visitor.evaluate(ID)
    with visitor.expect_navigation():
        visitor.click("[data-do=afresh]")
        visitor.click("#afresh .yes")
    settled(visitor)
    assert visitor.evaluate(ID) != before


def test_a_server_that_goes_away_is_told_and_the_page_comes_back_with_its_recipe(
    recipe: Path, browser: sync_api.Browser, tmp_path: Path
) -> None:
    port = free_port()
    with served(recipe, tmp_path, port=port) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(180_000)
        page.goto(address + "?__theme=light")
        settled(page)
        page.wait_for_function(REST)
        go(page, 3)
        turn(page, "task_exponent", 1.5)
        page.wait_for_function(f"{STATE}.includes('\"task_exponent\":1.5')")
        before = page.evaluate(ID)
    page.wait_for_function("document.querySelector('.hdr .job').innerText.includes('Disconnected')")
    assert page.locator("#studio-tabs").get_attribute("inert") is not None
    with served(recipe, tmp_path, port=port):
        page.wait_for_function(f"!document.documentElement.classList.contains('away') && {READY}")
        settled(page)
        assert page.evaluate(ID) != before  # the session was lost with the server
        shown(page, "task_exponent", 1.5)
        assert page.locator("#studio-tabs [role=tab].selected").inner_text().endswith("Merge")
    page.close()
