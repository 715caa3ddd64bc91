"""Gradio's private names mean what we take them for, in the releases that were tried."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import os
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from gradio import route_utils
from gradio.block_function import BlockFunction
from gradio.routes import App
from gradio.state_holder import SessionState
from starlette.requests import Request
from starlette.testclient import TestClient

from esm_viz.ui.components.gradio_private import (
    TRIED,
    PlainBlocks,
    handlers,
    has_password,
    is_locked_out,
    message_of,
    upload_folder,
)


def test_the_installed_release_was_tried() -> None:
    installed = ".".join(version("gradio").split(".")[:2])
    assert installed in TRIED, f"run this module's other tests, then add {installed!r} to gradio_private.TRIED"


def greeting(blocks: type[gr.Blocks] = gr.Blocks) -> tuple[gr.Blocks, list[gr.HTML]]:
    """Blocks with two outputs, of which a handler paints the second, and a handler of another event."""
    with blocks() as made:
        parts = [gr.HTML("a"), gr.HTML("b")]
        gr.Button("x").click(lambda: {parts[1]: "new"}, None, parts)
        made.load(lambda a, b: (a, b), parts, parts)
        made.unload(lambda: None)
    return made, parts


def test_handlers_are_found_by_their_events_with_the_number_of_their_inputs() -> None:
    blocks, _ = greeting()
    assert sorted(handlers(blocks, ("click", "load")).values()) == [0, 2]
    (number,) = handlers(blocks, ("click",))
    assert list(handlers(blocks, ("click",)).values()) == [0]
    assert blocks.config["dependencies"][number]["targets"][0][1] == "click"  # the number that a page sends
    assert handlers(blocks, ("tick",)) == {}


def test_an_event_holds_what_the_page_sent() -> None:
    sent = {"do": "knob", "value": 0.5}
    assert message_of(gr.EventData(None, sent)) == sent


def test_what_a_page_sends_with_an_event_reaches_its_handler() -> None:
    seen: list[Any] = []
    with PlainBlocks() as blocks:
        part = gr.HTML("a")

        def handle(event: gr.EventData) -> dict[Any, str]:
            seen.append(message_of(event))
            return {part: "b"}

        part.click(handle, None, [part])
    (number,) = handlers(blocks, ("click",))
    with TestClient(App.create_app(blocks)) as client:
        body = {"fn_index": number, "data": [], "event_data": {"x": 1}, "session_hash": "a"}
        answer = client.post("/gradio_api/run/predict", json=body)
    assert answer.json()["data"] == ["b"]
    assert seen == [{"x": 1}]


def test_uploads_go_to_the_folder_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    blocks = greeting()[0]
    blocks.max_file_size = None  # which launching it sets
    with TestClient(App.create_app(blocks)) as client:
        (path,) = client.post("/gradio_api/upload", files={"files": ("a.txt", b"text")}).json()
    assert Path(path).read_bytes() == b"text"
    assert Path(os.path.commonpath([path, upload_folder()])) == upload_folder()


def painted(blocks: gr.Blocks, predictions: Any) -> list[Any]:
    (number,) = handlers(blocks, ("click",))
    function: BlockFunction = blocks.fns[number]
    return asyncio.run(blocks.postprocess_data(function, predictions, SessionState(blocks)))


def test_a_string_for_one_output_leaves_the_others_as_they_are() -> None:
    blocks, parts = greeting(PlainBlocks)
    assert painted(blocks, {parts[1]: "new"}) == [gr.skip(), "new"]


def test_what_is_no_mapping_of_components_is_gradios_to_paint() -> None:
    blocks, _ = greeting(PlainBlocks)
    assert painted(blocks, ["one", "two"]) == painted(greeting()[0], ["one", "two"])


def test_the_search_for_matplotlib_is_left_out_where_there_is_none() -> None:
    assert "utils.MatplotlibBackendMananger()" in inspect.getsource(route_utils)  # looked up by name at every event
    if importlib.util.find_spec("matplotlib") is None:
        assert gr.utils.MatplotlibBackendMananger is nullcontext


def asked(app: App, cookies: str = "") -> Request:
    """A request as the server hands it to a route."""
    headers = [(b"cookie", cookies.encode())] if cookies else []
    return Request({"type": "http", "app": app, "headers": headers})


def test_without_a_password_nobody_is_locked_out() -> None:
    app = App.create_app(greeting()[0])
    assert not has_password(asked(app))
    assert not is_locked_out(asked(app))


@pytest.mark.parametrize("secure", ["", "-unsecure"])
def test_only_the_cookie_that_gradio_gave_at_the_login_lets_in(secure: str) -> None:
    blocks = greeting()[0]
    blocks.auth, blocks.auth_message = [("hall", "secret")], None
    app = App.create_app(blocks)
    assert has_password(asked(app))
    assert is_locked_out(asked(app))
    with TestClient(app) as client:
        assert client.post("/login", data={"username": "hall", "password": "secret"}).status_code == 200
        given = {cookie.name: cookie.value for cookie in client.cookies.jar}
    name = f"access-token{secure}-{app.cookie_id}"
    assert not is_locked_out(asked(app, f"{name}={given[name]}"))
    assert is_locked_out(asked(app, f"{name}=guess"))
    assert is_locked_out(asked(app, f"access-token={given[name]}"))


def test_a_server_of_another_kind_has_no_password() -> None:
    assert not has_password(asked(SimpleNamespace(auth=None)))
