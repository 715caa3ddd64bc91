"""The page: five tabs of components, wired to handlers that check who asks and answer with pieces to paint."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import gradio as gr

from esm_viz.errors import EsmVizError
from esm_viz.pipeline import Project
from esm_viz.ui import bar, evaluate, explore, export, load, merge, work
from esm_viz.ui.components import block, card, rail
from esm_viz.ui.jobs import UNEXPECTED
from esm_viz.ui.page import encode, paint
from esm_viz.ui.store import Session, Store
from esm_viz.ui.uploads import Place

TAB_NAMES = ("Load", "Explore", "Merge", "Evaluate", "Export")
OPENING = "Explore"
LOOK, WAIT = 0.02, 0.8  # seconds between two looks for late results, and until the page is answered anyway
CLEAN = (600, 3600)  # seconds: how often uploads are looked through, and how old the ones thrown away are
_LOG = logging.getLogger("esm_viz.ui")
Act = Callable[[Session, dict[str, Any]], tuple[str, ...]]


class Studio:
    """The page and its sessions."""

    def __init__(self, demo: Project, name: str, device: str, local: bool) -> None:
        """Merge the opening project and measure it on a few images, so that the page opens painted."""
        self.place = Place(demo, name, device, local)
        self.store = Store()
        self.name = name
        self.first = self.store.open(name, demo)
        work.adopt(self.first, name, demo, demo.with_alpha_found(demo.recipe))
        work.set_recipe(self.first, self.first.recipe)
        while self.first.live is not None and self.first.live.running and self.first.validation is None:
            time.sleep(LOOK)
        work.look(self.first)
        work.evaluate_test(self.first)  # in the background, ready when somebody opens Evaluate
        self.parts: dict[str, gr.HTML] = {}
        self.blocks = self._build()

    def _build(self) -> gr.Blocks:
        values = paint(self.first, [*_PIECES], self.place)
        with gr.Blocks(title="esm_viz", analytics_enabled=False, fill_height=True, delete_cache=CLEAN) as blocks:
            self.session_id = gr.Textbox(value="", visible="hidden", elem_id="page-id")
            for name in ("bar", "states"):
                self.parts[name] = block(name, values[name])
            with gr.Tabs(elem_id="studio-tabs", selected=OPENING):
                tabs = {name: self._tab(name, at + 1, values) for at, name in enumerate(TAB_NAMES)}
            self._wire(blocks, tabs)
        return blocks

    def _tab(self, name: str, number: int, values: dict[str, str]) -> gr.Tab:
        with gr.Tab(f"{number}  {name}", id=name) as tab, gr.Column(elem_id=name.lower(), elem_classes="page"):
            for piece, make in _LAYOUT[name]:
                self.parts[piece] = rail(values[piece]) if make is None else make(piece, values[piece])
            if name == "Load":
                self.drop = gr.File(
                    label="Files", show_label=False, file_count="multiple", elem_id="drop", height=68,
                    file_types=[".safetensors", ".yaml", ".yml", ".zip", ".json"],
                )  # fmt: skip
        return tab

    def _wire(self, blocks: gr.Blocks, tabs: dict[str, gr.Tab]) -> None:
        quiet: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        every = list(self.parts.values())
        acts: dict[str, Act] = {
            **dict.fromkeys(work.EXPLORE, explore.act),
            **dict.fromkeys(("rail", "stats", "states", "interference", "history"), merge.act),
            **dict.fromkeys(("board", "bars", "alpha"), evaluate.act),
            "proof": lambda session, message: export.act(session, self.store, message),
            "source": lambda session, message: load.act(session, message, self.place),
            "bar": self._bar,
        }
        for name, act in acts.items():
            self.parts[name].act(
                self._handler(act, "board" if act is evaluate.act else "rail"),
                [self.session_id],
                every,
                trigger_mode="multiple",
                **quiet,
            )
        self.parts["bar"].tick(self._tick, [self.session_id], every, trigger_mode="multiple", **quiet)
        tabs["Evaluate"].select(self._arrival(evaluate.arrive), [self.session_id], every, **quiet)
        tabs["Explore"].select(self._arrival(_explored), [self.session_id], every, **quiet)
        self.drop.upload(self._upload, [self.session_id, self.drop], [self.drop, *every], **quiet)
        blocks.load(self._start, None, [self.session_id, *every], **quiet)
        blocks.unload(self._leave)

    def _start(self, request: gr.Request) -> dict[Any, str]:
        """Give a page that opens its own session, a copy of the measured first one."""
        first = self.first
        session = self.store.open(self.name, self.place.demo, request.session_hash or "")
        work.adopt(session, self.name, self.place.demo, first.recipe)
        session.report, session.validation = first.report, first.validation
        session.history, session.at, session.thumbs = list(first.history), first.at, first.thumbs
        session.board = list(first.board)
        session.view.cell, session.view.pair = first.view.cell, first.view.pair
        session.looks = dict(first.looks)
        session.version = first.version
        if first.live is not None and first.live.running:  # still being measured: this page follows by itself
            work.set_recipe(session, session.recipe)
        if len(session.looks) < len(work.SLOW):
            work.look(session)
        names = (*work.LIVE, *work.SCORES, *work.BOARD, *work.SLOW, "found")
        return {self.session_id: session.id, **self._outputs(paint(session, names, self.place))}

    def _gone(self) -> dict[Any, str]:
        return {self.parts["bar"]: encode(bar.gone(), 1 << 50)}

    def _nothing(self) -> dict[Any, Any]:
        return {self.parts["bar"]: gr.skip()}

    def _leave(self, request: gr.Request) -> None:
        self.store.leave(request.session_hash or "")

    def _outputs(self, pieces: dict[str, str]) -> dict[Any, str]:
        return {self.parts[name]: value for name, value in pieces.items()}

    def _answer(
        self, session_id: str, act: Callable[[Session], tuple[str, ...]], place: str = "rail"
    ) -> dict[Any, str]:
        """Find the caller's session, act, and paint; an error is one sentence in its place."""
        if not session_id:
            return self._nothing()  # the page has not been given its id yet
        session = self.store.get(session_id)
        if session is None:
            return self._gone()
        try:
            names = act(session)
        except EsmVizError as error:
            session.errors[place] = str(error)
            names = (place,)
        except Exception:  # noqa: BLE001 - a visitor sees a sentence, never a traceback
            _LOG.debug("handler", exc_info=True)
            session.errors[place] = UNEXPECTED
            names = (place,)
        return self._outputs(paint(session, names, self.place))

    def _handler(self, act: Act, place: str) -> Callable[..., dict[Any, str]]:
        def handle(session_id: str, event: gr.EventData) -> dict[Any, str]:
            message = event._data if isinstance(event._data, dict) else {}
            return self._answer(session_id, lambda session: act(session, message), place)

        return handle

    def _arrival(self, arrive: Callable[[Session], tuple[str, ...]]) -> Callable[[str], dict[Any, str]]:
        return lambda session_id: self._answer(session_id, arrive)

    def _upload(self, session_id: str, files: list[str] | None) -> dict[Any, Any]:
        answer = self._answer(session_id, lambda s: load.receive(s, list(files or []), self.place))
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
        names = {*session.dirty} if session.busy else {*session.dirty, *work.LIVE, *work.SCORES}
        pieces = await asyncio.to_thread(paint, session, names, self.place, True)
        return self._outputs(pieces)

    def _bar(self, session: Session, message: dict[str, Any]) -> tuple[str, ...]:
        if message.get("do") == "cancel":
            session.stop()
            return (*work.LIVE, *work.SCORES, *work.BOARD, "proof", "source")
        return merge.act(session, message)


def _explored(session: Session) -> tuple[str, ...]:
    """Paint Explore anew when a knob has moved since."""
    if session.explored == session.recipe:
        return ()
    session.explored = session.recipe
    work.look(session)
    return work.EXPLORE


_LAYOUT: dict[str, tuple[tuple[str, Callable[[str, str], gr.HTML] | None], ...]] = {
    "Load": (("source", block), ("found", block), ("cost", block)),
    "Explore": tuple((name, card) for name in work.EXPLORE),
    "Merge": (
        ("rail", None),
        ("stats", block),
        ("accuracy", card),
        ("interference", card),
        ("norms", card),
        ("history", block),
    ),
    "Evaluate": (("board", block), ("bars", card), ("alpha", card)),
    "Export": (("proof", block), ("recipe", block)),
}
_PIECES = ("bar", "states", *(piece for pieces in _LAYOUT.values() for piece, _ in pieces))
