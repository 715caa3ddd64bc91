"""The page: five tabs of components, wired to handlers that check who asks and answer with pieces to paint."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from esm_viz.errors import EsmVizError
from esm_viz.pipeline import Project
from esm_viz.ui import bar, load
from esm_viz.ui.comparing import BOARD, evaluate_test
from esm_viz.ui.components import make
from esm_viz.ui.jobs import UNEXPECTED
from esm_viz.ui.live import LIVE, SCORES, set_recipe
from esm_viz.ui.loading import adopt
from esm_viz.ui.looks import SLOW, look
from esm_viz.ui.page import HEADER, PIECES, TABS, encode, paint
from esm_viz.ui.piece import Names, Tab
from esm_viz.ui.place import Place
from esm_viz.ui.store import Session, Store

OPENING = "Explore"
LOOK, WAIT = 0.02, 0.8  # seconds between two looks for late results, and until the page is answered anyway
CLEAN = (600, 3600)  # seconds: how often uploads are looked through, and how old the ones thrown away are
_LOG = logging.getLogger("esm_viz.ui")


class Studio:
    """The page and its sessions."""

    def __init__(self, demo: Project, name: str, device: str, local: bool, folder: Path | None = None) -> None:
        """Merge the opening project and measure it on a few images, so that the page opens painted."""
        self.place = Place(demo, name, device, local, folder)
        self.store = Store()
        self.first = self.store.open(self.place)
        adopt(self.first, name, demo, demo.with_alpha_found(demo.recipe))
        set_recipe(self.first, self.first.recipe)
        while self.first.live is not None and self.first.live.running and self.first.validation is None:
            time.sleep(LOOK)
        look(self.first)
        evaluate_test(self.first)  # in the background, ready when somebody opens Evaluate
        self.parts: dict[str, gr.HTML] = {}
        self.blocks = self._build()

    def _build(self) -> gr.Blocks:
        values = paint(self.first, PIECES)
        with gr.Blocks(title="esm_viz", analytics_enabled=False, fill_height=True, delete_cache=CLEAN) as blocks:
            self.session_id = gr.Textbox(value="", visible="hidden", elem_id="page-id")
            self._pieces(HEADER, values)
            with gr.Tabs(elem_id="studio-tabs", selected=OPENING):
                tabs = {tab.name: self._tab(tab, at + 1, values) for at, tab in enumerate(TABS)}
            self._wire(blocks, tabs)
        return blocks

    def _pieces(self, tab: Tab, values: dict[str, str]) -> None:
        self.parts |= {piece.name: make(piece, values[piece.name]) for piece in tab.pieces}

    def _tab(self, tab: Tab, number: int, values: dict[str, str]) -> gr.Tab:
        title = f"{number}  {tab.name}"
        with gr.Tab(title, id=tab.name) as made, gr.Column(elem_id=tab.name.lower(), elem_classes="page"):
            self._pieces(tab, values)
            if tab is load.TAB:
                self.drop = gr.File(
                    label="Files", show_label=False, file_count="multiple", elem_id="drop", height=68,
                    file_types=[".safetensors", ".yaml", ".yml", ".zip", ".json"],
                )  # fmt: skip
        return made

    def _wire(self, blocks: gr.Blocks, tabs: dict[str, gr.Tab]) -> None:
        quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        every = list(self.parts.values())
        for tab in (HEADER, *TABS):
            for piece in tab.pieces:
                part = self.parts[piece.name]
                part.act(self._handler(tab), [self.session_id], every, trigger_mode="multiple", **quiet)
            if tab.arrive:
                tabs[tab.name].select(self._arrival(tab, tab.arrive), [self.session_id], every, **quiet)
        self.parts["bar"].tick(self._tick, [self.session_id], every, trigger_mode="multiple", **quiet)
        self.drop.upload(self._upload, [self.session_id, self.drop], [self.drop, *every], **quiet)
        blocks.load(self._start, None, [self.session_id, *every], **quiet)
        blocks.unload(self._leave)

    def _start(self, request: gr.Request) -> dict[Any, str]:
        """Give a page that opens its own session, a copy of the measured first one."""
        first = self.first
        session = self.store.open(self.place, request.session_hash or "")
        adopt(session, self.place.name, self.place.demo, first.recipe)
        session.report, session.validation = first.report, first.validation
        session.history, session.at, session.thumbs = list(first.history), first.at, first.thumbs
        session.board = list(first.board)
        session.view.cell, session.view.pair = first.view.cell, first.view.pair
        session.looks = dict(first.looks)
        session.version = first.version
        if first.live is not None and first.live.running:  # still being measured: this page follows by itself
            set_recipe(session, session.recipe)
        if len(session.looks) < len(SLOW):
            look(session)
        names = (*LIVE, *SCORES, *BOARD, *SLOW, "found")
        return {self.session_id: session.id, **self._outputs(paint(session, names))}

    def _gone(self) -> dict[Any, str]:
        return {self.parts["bar"]: encode(bar.gone(), 1 << 50)}

    def _nothing(self) -> dict[Any, Any]:
        return {self.parts["bar"]: gr.skip()}

    def _leave(self, request: gr.Request) -> None:
        self.store.leave(request.session_hash or "")

    def _outputs(self, pieces: dict[str, str]) -> dict[Any, str]:
        return {self.parts[name]: value for name, value in pieces.items()}

    def _answer(self, session_id: str, tab: Tab, act: Callable[[Session], Names]) -> dict[Any, str]:
        """Find the caller's session, act, and paint; an error is one sentence in its place."""
        if not session_id:
            return self._nothing()  # the page has not been given its id yet
        session = self.store.get(session_id)
        if session is None:
            return self._gone()
        try:
            names = act(session)
        except EsmVizError as error:
            names = _refused(session, tab, str(error))
        except Exception:  # noqa: BLE001 - a visitor sees a sentence, never a traceback
            _LOG.debug("handler", exc_info=True)
            names = _refused(session, tab, UNEXPECTED)
        return self._outputs(paint(session, names))

    def _handler(self, tab: Tab) -> Callable[..., dict[Any, str]]:
        def handle(session_id: str, event: gr.EventData) -> dict[Any, str]:
            message = event._data if isinstance(event._data, dict) else {}
            return self._answer(session_id, tab, lambda session: tab.act(session, message))

        return handle

    def _arrival(self, tab: Tab, arrive: Callable[[Session], Names]) -> Callable[[str], dict[Any, str]]:
        return lambda session_id: self._answer(session_id, tab, arrive)

    def _upload(self, session_id: str, files: list[str] | None) -> dict[Any, Any]:
        answer = self._answer(session_id, load.TAB, lambda session: load.receive(session, list(files or [])))
        return {self.drop: None, **answer}

    async def _tick(self, session_id: str) -> dict[Any, str]:
        """Answer as soon as something is there to be painted, or after a moment with the progress."""
        session = self.store.get(session_id)
        if session is None:
            return self._gone() if session_id else self._nothing()
        for _ in range(round(WAIT / LOOK)):
            if session.dirty or not session.busy:
                break
            await asyncio.sleep(LOOK)
        names = {*session.dirty} if session.busy else {*session.dirty, *LIVE, *SCORES}
        pieces = await asyncio.to_thread(paint, session, names, True)
        return self._outputs(pieces)


def _refused(session: Session, tab: Tab, sentence: str) -> Names:
    """Note why a message was refused, and name where that is told."""
    session.errors[tab.place] = sentence
    return (tab.place if tab.place in PIECES else tab.pieces[0].name, *(piece.name for piece in tab.pieces))
