"""axe-core on every tab, in both themes: no serious and no critical violation."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.e2e.conftest import sync_api
from tests.e2e.test_studio import at_rest, tab

Page = sync_api.Page
TABS = ("load", "explore", "merge", "evaluate", "export")
HEAVY = ("serious", "critical")
STANDS = """(tab) => { const cards = [...document.querySelectorAll(`#${tab} .card[data-card]`)];
  const shown = ['.fig .main-svg', '.message:not([hidden])'];
  return cards.every((card) => shown.some((what) => card.querySelector(what))); }"""


def violations(page: Page) -> list[str]:
    """Return what axe-core finds that keeps somebody out, one line an element."""
    found = Axe().run(page).response["violations"]
    return [_line(rule, node) for rule in found if rule["impact"] in HEAVY for node in rule["nodes"]]


def _line(rule: dict[str, Any], node: dict[str, Any]) -> str:
    return f"{rule['impact']} {rule['id']}: {node['target']} {node['html'][:120]}"


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_axe_finds_nothing_serious_on_a_tab_in_either_theme(page: Page, number: int) -> None:
    tab(page, number)
    page.wait_for_function(STANDS, arg=TABS[number - 1])
    at_rest(page)
    page.emulate_media(reduced_motion="reduce")  # a colour on its way to another is nobody's contrast
    found = []
    for dark in (False, True):
        page.evaluate("(dark) => studio.setTheme(dark)", dark)
        page.wait_for_timeout(300)
        found += [f"{'dark' if dark else 'light'}: {line}" for line in violations(page)]
    assert found == []


def test_axe_finds_nothing_serious_in_what_opens_by_key(page: Page) -> None:
    page.locator("#card-map .fig").focus()
    page.keyboard.press("t")
    page.locator("#card-map .numbers table").wait_for()
    found = violations(page)
    page.keyboard.press("?")
    page.locator("dialog.keys").wait_for()
    found += violations(page)
    page.keyboard.press("Escape")
    page.keyboard.press("f")
    page.wait_for_selector(".card.present")
    assert found + violations(page) == []


def test_axe_sees_a_picture_without_a_name(page: Page) -> None:
    page.evaluate("document.querySelector('#card-map .fig').removeAttribute('aria-label')")
    assert any("role-img-alt" in line for line in violations(page))
