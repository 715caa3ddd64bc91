"""Names on a hub in a browser: pasted, judged by headers, downloaded, merged, exported; and nothing before that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import served, sync_api
from tests.e2e.test_accessibility import violations
from tests.e2e.test_bringing import SLOW, merged
from tests.support import hub_models
from tests.support.loopback_hub import LoopbackHub

Page = sync_api.Page
PICTURES = os.environ.get("ESM_VIZ_PICTURES")  # a folder to look at what is on screen
MODELS = "\n".join(f"{hub_models.PREFIX}{task} proxies=me/{task}/train" for task in hub_models.TASKS)
FITS = "document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    """Return a hub with a base, two fine-tunes and their images."""
    with LoopbackHub() as started:
        hub_models.put_models(started, tmp_path_factory.mktemp("own"))
        for at, task in enumerate(hub_models.TASKS):
            hub_models.put_dataset(started, f"me/{task}", 10 * at)
        yield started


@pytest.fixture
def studio(hub: LoopbackHub, recipe: Path, tmp_path: Path) -> Iterator[str]:
    """Serve a studio that asks this hub, with a cache of its own."""
    hub.forget()
    variables = {"HF_HUB_OFFLINE": "0", **hub.environment(tmp_path / "home")}
    with served(recipe, tmp_path, **variables) as address:
        yield address


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def test_models_by_name_go_from_headers_to_an_export(
    visitors: sync_api.BrowserContext, studio: str, hub: LoopbackHub, tmp_path: Path
) -> None:
    page = visitors.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(SLOW)
    page.goto(f"{studio}?__theme=light")
    page.wait_for_selector("#card-map .fig.js-plotly-plot .main-svg")
    for tab in "12345":
        page.keyboard.press(tab)
        page.wait_for_timeout(200)
    assert hub.asked == []  # at start, while the page opened, and on every tab of the demo

    page.keyboard.press("1")
    page.get_by_role("radio", name="Names").click()
    picture(page, "names-empty-light")
    page.get_by_label("Base").fill(hub_models.BASE)
    page.get_by_label("Fine-tunes").fill(MODELS)
    assert hub.asked == []
    page.get_by_role("button", name="Read their headers").click()
    page.wait_for_selector("text=What was found: Names")
    assert page.locator("#found tbody tr").count() == 3
    assert not [each for each in hub.requests("content") if not each.range]
    assert page.get_by_label("Fine-tunes").input_value() == MODELS
    assert page.evaluate(FITS)
    for theme in ("light", "dark"):
        page.evaluate(f"studio.setTheme({str(theme == 'dark').lower()})")
        page.wait_for_timeout(400)  # colours change slowly
        assert violations(page) == []
        picture(page, f"names-judged-{theme}")
    page.evaluate("studio.setTheme(false)")

    page.get_by_role("button", name="Download under 1 MB").click()
    page.wait_for_selector("#cost [data-do=decompose]:not([aria-disabled])")
    assert page.locator("#found .th").count() >= 4  # pictures of the images that were downloaded
    picture(page, "names-downloaded-light")
    page.locator("#cost [data-do=decompose]").click()
    page.wait_for_selector("text=Names: on screen in all tabs")
    hub.forget()
    out = merged(page, "hf", tmp_path)
    written = yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8"))
    commit = hub.repositories[f"models/{hub_models.BASE}"].revisions["main"]
    assert written["base_model"]["path"] == f"hf://{hub_models.BASE}@{commit}"
    assert all(model["proxies"].startswith("hf://datasets/me/") for model in written["models"])
    assert hub.asked == []
    assert errors == []
    page.close()


def test_a_slow_download_shows_its_progress_and_is_cancelled(
    visitors: sync_api.BrowserContext, studio: str, hub: LoopbackHub
) -> None:
    page = visitors.new_page()
    page.set_default_timeout(SLOW)
    page.goto(f"{studio}?__theme=light")
    page.wait_for_selector("#card-map .fig.js-plotly-plot .main-svg")
    page.keyboard.press("1")
    page.get_by_role("radio", name="Names").click()
    page.get_by_label("Base").fill(hub_models.BASE)
    page.get_by_label("Fine-tunes").fill(MODELS)
    page.get_by_role("button", name="Read their headers").click()
    page.wait_for_selector("text=What was found: Names")
    hub.waits["model.safetensors"] = 3.0
    page.get_by_role("button", name="Download under 1 MB").click()
    page.wait_for_selector("text=Downloading")
    picture(page, "names-downloading-light")
    page.locator("[data-do=cancel]").first.click()
    page.wait_for_selector("#cost [data-do=download]")
    hub.waits.clear()
    page.get_by_role("button", name="Download under 1 MB").click()
    page.wait_for_selector("#cost [data-do=decompose]:not([aria-disabled])")
    page.close()
