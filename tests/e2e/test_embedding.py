"""The studio as a hosted Space, in a frame on a page of another site, in a browser without third-party cookies."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright import sync_api

from tests.e2e.conftest import served

SPACE = {"SYSTEM": "spaces", "SPACE_ID": "ada/esm-viz", "SPACE_HOST": "ada-esm-viz.hf.space"}
WHO = "document.querySelector('#page-id textarea, #page-id input').value"
BARS = "JSON.stringify(document.querySelector('#card-accuracy .fig')?.data?.find((trace) => trace.type === 'bar').x)"
SLIDE = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})); }"
ALPHA = "[data-knob=alpha] input[type=range]"


@dataclass
class Site:
    """A page with a frame, on a site of its own: it is on localhost, the studio on 127.0.0.1."""

    origin: str
    framed: str = ""  # address of what the frame shows


@contextmanager
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f'<!doctype html><title>a page</title><iframe src="{made.framed}" width=1260 height=860></iframe>'
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)  # which "localhost" leads to as well
    made = Site(f"http://localhost:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def hub() -> Iterator[Site]:
    """Return the site whose pages may show the studio."""
    with site() as made:
        yield made


@pytest.fixture(scope="module")
def stranger() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture(scope="module")
def space(hub: Site, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(recipe, tmp_path_factory.mktemp("space"), "--embed-in", hub.origin, **SPACE) as address:
        yield address


@pytest.fixture
def page(browser: sync_api.Browser) -> Iterator[sync_api.Page]:
    """Open a page as a private window would, which keeps nothing for a frame of another site; no script may fail."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


def framed(page: sync_api.Page, around: Site, address: str) -> sync_api.Frame:
    """Open a page of this site with a frame that shows this address, and return the frame."""
    around.framed = address
    page.goto(around.origin)
    return page.frames[1]


def opened(frame: sync_api.Frame) -> sync_api.Frame:
    frame.wait_for_selector("#card-map .fig.js-plotly-plot .main-svg")
    frame.wait_for_function("document.querySelector('#page-id textarea, #page-id input').value.length > 10")
    return frame


def merging(frame: sync_api.Frame) -> sync_api.Locator:
    """Open the Merge tab and return its knob α."""
    frame.get_by_role("tab", name="Merge").click()
    frame.wait_for_selector("#card-accuracy .main-svg")
    return frame.locator(ALPHA)


def test_a_knob_works_in_the_hubs_frame_and_a_reload_comes_back(page: sync_api.Page, hub: Site, space: str) -> None:
    frame = opened(framed(page, hub, space + "?__theme=light"))
    knob, before, who = merging(frame), frame.evaluate(BARS), frame.evaluate(WHO)
    knob.evaluate(SLIDE, "0.37")
    frame.wait_for_function(f"(before) => {BARS} !== before", arg=before)
    page.reload()
    frame = opened(page.frames[1])
    assert frame.evaluate(WHO) == who
    assert merging(frame).input_value() == "0.37"


def test_the_browser_of_these_tests_keeps_no_cookie_and_no_storage_for_a_frame(
    page: sync_api.Page, hub: Site, space: str
) -> None:
    frame = framed(page, hub, space + "join")
    frame.evaluate("document.cookie = 'third=party; SameSite=None; Secure'")
    assert frame.evaluate("document.cookie") == ""
    with pytest.raises(sync_api.Error, match="Access is denied"):
        frame.evaluate("localStorage.length")


@pytest.mark.parametrize("path", ["", "join"])
def test_a_strangers_frame_is_refused(page: sync_api.Page, stranger: Site, space: str, path: str) -> None:
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    framed(page, stranger, space + path).wait_for_url(re.compile("chrome-error:"))
    assert any("frame-ancestors" in line for line in told)


def test_a_password_is_given_in_the_frame(page: sync_api.Page, hub: Site, recipe: Path, tmp_path: Path) -> None:
    with served(recipe, tmp_path, "--embed-in", hub.origin, **SPACE, ESM_VIZ_AUTH="hall:secret") as address:
        frame = framed(page, hub, address)
        frame.fill("[name=username]", "hall")
        frame.fill("[name=password]", "secret")
        frame.get_by_role("button", name="Come in").click()
        opened(frame)
