"""A studio on the tiny project, and a page of it without a browser."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio.routes import App
from starlette.testclient import TestClient

from esm_viz.project.project import Project
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.server.server_address import Site
from esm_viz.ui.studio_server import app_settings
from tests.support import tiny

SITE = Site("127.0.0.1", 7860)


class Page:
    """A page without a browser: it calls handlers by the component they belong to and keeps what they answer."""

    def __init__(self, studio: Studio, known: str = "", query: str = "") -> None:
        """Open a page in a browser that keeps this session id, at an address with this query."""
        self.studio = studio
        self.hash, self.query = secrets.token_hex(6), query
        app = App.create_app(studio.blocks, app_kwargs=app_settings(studio, SITE))
        self.http = TestClient(app, base_url=SITE.url())
        self.ids = {part._id: name for name, part in studio.parts.items()}
        self.pieces: dict[str, dict[str, Any]] = {}
        self.id = self.call("load", studio.blocks, known)[studio.session_id._id]
        self.query = ""

    def call(self, event: str, target: Any, *data: Any, message: Any = None) -> dict[int, Any]:
        found = [fn for fn in self.studio.blocks.fns.values() if (target._id, event) in fn.targets]
        body = {"fn_index": found[0]._id, "data": list(data), "event_data": message, "session_hash": self.hash}
        answer = self.http.post("/gradio_api/run/predict" + self.query, json=body)
        assert answer.status_code == 200, answer.text
        values = dict(zip([part._id for part in found[0].outputs], answer.json()["data"], strict=True))
        for key, value in values.items():
            if key in self.ids and isinstance(value, str):
                self.pieces[self.ids[key]] = json.loads(value)
        return values

    def act(self, part: str, /, **message: Any) -> dict[str, dict[str, Any]]:
        self.pieces = {}
        self.call("act", self.studio.parts[part], self.id, message=message)
        return self.pieces

    def tab(self, name: str) -> Any:
        """Return one of the page's tabs."""
        return next(block for block in self.studio.blocks.blocks.values() if getattr(block, "id", None) == name)

    def rest(self) -> None:
        """Ask for late results until there are none, as the page does."""
        until = time.monotonic() + 120  # on a busy machine
        while time.monotonic() < until:
            self.call("tick", self.studio.parts["bar"], self.id)
            if not self.pieces["bar"]["busy"]:
                return
        raise AssertionError("still busy")

    @property
    def session(self) -> Any:
        found = self.studio.store.get(self.id)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    tiny.write_project(path)
    return path


@pytest.fixture(scope="module")
def studio(folder: Path) -> Iterator[Studio]:
    project = Project.open(tiny.recipe(folder), device="cpu")
    project.prepare()
    made = Studio(project, "tiny", "cpu")
    yield made
    made.store.close()


@pytest.fixture
def page(studio: Studio) -> Page:
    return Page(studio)
