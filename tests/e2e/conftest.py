"""One studio and one Chromium for the whole room; every page is watched for errors and strangers.

The studio opens on three tasks of the demo, with the validation images as test images too: the same files as the whole
demo at a fifth of its time.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from playwright import sync_api

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "demo" / "recipe.yaml"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
MOST_SHOWN = 3000  # characters of a page in the report of a failed test
PATIENCE = 240.0  # seconds for the server to come up on a busy machine


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the recipe that the studio opens on."""
    if not DEMO.is_file():
        pytest.fail("the demo is not built: run script/build-demo")
    whole = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    models = [{**model, "test": model["validation"]} for model in whole["models"][:3]]
    for model in models:
        model |= {key: str(DEMO.parent / model[key]) for key in ("path", "proxies", "head", "validation", "test")}
    base = {**whole["base_model"], "path": str(DEMO.parent / whole["base_model"]["path"])}
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(yaml.safe_dump({**whole, "base_model": base, "models": models}), encoding="utf-8")
    return path


@contextmanager
def served(recipe: Path, folder: Path, *flags: str, port: int = 0, **variables: str) -> Iterator[str]:
    """Serve a studio of its own, with its log and uploads in a folder; yield its address. Port 0: a free one."""
    port, log = port or free_port(), folder / "log"
    environment = os.environ | {"GRADIO_TEMP_DIR": str(folder / "gradio")} | variables
    with log.open("wb") as out:
        command = [sys.executable, "app.py", str(recipe), "--port", str(port), "--device", "cpu", *flags]
        server = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment)
    until = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < until:
            assert server.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2):
                    break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(60)  # of a busy machine


@pytest.fixture(scope="session")
def address(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(recipe, tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[sync_api.Browser]:
    chromium = os.environ.get("ESM_VIZ_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.fail("no Chromium on this machine: run script/test")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def visitors(browser: sync_api.Browser) -> Iterator[sync_api.BrowserContext]:
    """Give all tests one cache of the studio's files: fetching them anew would take most of a test's time."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, accept_downloads=True)
    yield context
    context.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport]:
    """Add what stood on the open pages to the report of a failed test."""
    report = yield
    browser = getattr(item, "funcargs", {}).get("browser")
    if report.failed and call.when == "call" and browser is not None:
        for opened in [page for context in browser.contexts for page in context.pages]:
            with suppress(sync_api.Error):
                report.sections.append((f"on {opened.url}", opened.inner_text("body", timeout=5000)[:MOST_SHOWN]))
    return report


@pytest.fixture
def page(visitors: sync_api.BrowserContext, address: str) -> Iterator[sync_api.Page]:
    """Open the studio as somebody new; afterwards no error may stand in the console, no other host have been asked."""
    page = visitors.new_page()
    here = {"origin": address.rstrip("/"), "storageTypes": "local_storage"}
    visitors.new_cdp_session(page).send("Storage.clearDataForOrigin", here)
    page.set_default_timeout(180_000)
    errors: list[str] = []
    strangers: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: strangers.append(request.url) if is_stranger(request.url) else None)
    page.goto(address + "?__theme=light")
    page.wait_for_selector("#card-map .fig.js-plotly-plot .main-svg")
    page.wait_for_function("document.querySelector('#page-id textarea, #page-id input').value.length > 10")
    yield page
    for opened in visitors.pages:
        opened.close()
    assert errors == []
    assert strangers == []


def is_stranger(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https", "ws", "wss") and urlsplit(url).hostname != "127.0.0.1"
