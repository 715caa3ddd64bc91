"""The page: five tabs of components, and handlers that find the caller's session and return updated pieces."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from esm_viz.core.errors import EsmVizError
from esm_viz.project.project import Project
from esm_viz.runtime.thread_pool import begin_thread
from esm_viz.ui.components.browser_message import checked_fields, number
from esm_viz.ui.components.gradio_private import PlainBlocks, message_of, upload_folder
from esm_viz.ui.jobs.background_job import UNEXPECTED, WORKERS, Job
from esm_viz.ui.page import header_bar, session_restore, share_link_actions
from esm_viz.ui.page.html_components import make
from esm_viz.ui.page.opening_session import begin, copy, resume
from esm_viz.ui.page.page_update import HEADER, PIECES, TABS, encode, paint, touch
from esm_viz.ui.server.request_gate import caller
from esm_viz.ui.server.visitor_limits import USUAL, Limits
from esm_viz.ui.session.session_archive import SessionArchive
from esm_viz.ui.session.session_store import EVERYTHING, Session, Store
from esm_viz.ui.session.studio_settings import StudioSettings
from esm_viz.ui.tabs.evaluate.comparison_with_a import compare_models
from esm_viz.ui.tabs.load import load_tab
from esm_viz.ui.tabs.merge.live_preview import FIRST, MORE
from esm_viz.ui.tabs.tab_definition import Names, Tab
from esm_viz.ui.uploads import upload_unpack
from esm_viz.ui.uploads.upload_inbox import UploadInbox, weighed

OPENING = "Explore"
LOOK, WAIT = 0.03, 0.8  # seconds between two checks for late results, and until the page gets an answer anyway
EACH, LONGEST = (
    0.1,
    3.0,
)  # the same for each page that asks, so that many do not only ask; well below the page's patience
NEWEST = 1 << 50  # larger than every version and every message's number
BUILT = "built"  # id of the page as built by the server, before any visitor
# Key in the browser's storage of the session's id; includes the path, so that two studios on one host do not mix.
KEY = "'esm_viz.session ' + location.pathname"
# In a frame on another site, browsers may refuse storage but accept a cookie partitioned by that site.
# Only the page reads the cookie; the server takes a session's id only from messages.
_FOUND = "(document.cookie.match(/(?:^|; )esm_viz_session=([\\w-]+)/) || [])[1]"
KNOWN = f"() => {{ try {{ return [localStorage.getItem({KEY}) || '']; }} catch {{ return [{_FOUND} || '']; }} }}"
CLEAN = (600, 3600)  # seconds between two cleanups of uploads, and age at which they are deleted
_LOG = logging.getLogger("esm_viz.ui")


class Studio:
    """The page and its sessions."""

    def __init__(
        self,
        demo: Project,
        name: str,
        device: str,
        folder: Path | None = None,
        limits: Limits = USUAL,
        state: Path | None = None,
        hub: bool = False,
    ) -> None:
        """Build the page on a project; if it shows recorded results, decompose it in the background."""
        self.place = StudioSettings(demo, name, device, folder, limits, hub)
        self.inbox = UploadInbox(upload_folder(), limits.uploads)
        self.store = Store()
        recalls = demo.recorded is not None
        self.first = begin(self.store, self.place)
        self.shelf = SessionArchive(state, self.store, self._skips) if state is not None else None
        self._coming = threading.Lock()  # so that two pages restore their session only once
        self.parts: dict[str, gr.HTML] = {}
        self.drop: gr.File | None = None  # the upload component, if visitors may upload files
        self._asking = 0  # number of pages that wait for late results
        self.blocks = self._build()
        if recalls:
            Job("Decomposing", tells=True).start(self._prepare, _LOG.error)
        else:
            compare_models(self.first)  # in the background, for the Evaluate tab

    def _prepare(self, job: Job) -> None:
        """Compute the stages of the recorded results, so that they are cached when a knob is moved."""
        first, project = self.first, self.place.demo
        project.prepare(job.progress)
        project.merge(first.recipe, job.progress)
        for limit in (FIRST, MORE, 0) if project.has_labels("validation") else ():
            project.evaluate(first.recipe, "validation", limit, job.progress, oracle=False)
        compare_models(first)

    def _build(self) -> gr.Blocks:
        values = paint(self.first, PIECES, BUILT)
        with PlainBlocks(title="esm_viz", analytics_enabled=False, fill_height=True, delete_cache=CLEAN) as blocks:
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
            if tab is load_tab.TAB and self.place.limits.uploads:
                self.drop = gr.File(
                    label="Files", show_label=False, file_count="multiple", elem_id="drop", height=68,
                    file_types=list(upload_unpack.KINDS),
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
        if self.drop is not None:
            self.drop.upload(self._upload, [self.session_id, self.drop], [self.drop, *every], **quiet)
        # header.js keeps the id for later visits as soon as the page has it
        blocks.load(self._start, [self.session_id], [self.session_id, *every], js=KNOWN, **quiet)
        blocks.unload(self._leave)

    def _start(self, known: str, request: gr.Request) -> dict[Any, str]:
        """Return a new page's pieces: with the session it knows or a new one, and the state of its share link."""
        page, link = request.session_hash or "", request.query_params.get("state")
        kept = request.query_params.get("kept")  # what was on screen, from a page whose session may have ended
        session = self.store.get(known) or self._back(known, _caller(request))
        names: Iterable[str] = (EVERYTHING,)
        if session is None:
            session = copy(self.first, self.store)
            self.store.admit(session, _caller(request), self.place.limits.sessions)
            names = self.first.changed(BUILT, PIECES)
            link = link or kept
        else:
            resume(session)
        self.store.arrive(page, session)
        if link:
            share_link_actions.follow(session, link)
            touch(session, (EVERYTHING,))
            names = (EVERYTHING,)
        return {self.session_id: session.id, **self._outputs(paint(session, names, page))}

    def _back(self, known: str, address: str) -> Session | None:
        """Restore the session with this id from before a restart; None if there is none."""
        kept = self.shelf.find(known) if self.shelf else None
        if kept is None:
            return None
        with self._coming:
            session = self.store.get(known)
            if session is not None:
                return session
            session = copy(self.first, self.store, known)
            self.store.admit(session, address, self.place.limits.sessions)
            session_restore.bring_back(session, kept)
        session.touch((EVERYTHING,))
        return session

    def _skips(self, session: Session) -> bool:
        return session is self.first or session_restore.waits(session)

    def close(self) -> None:
        """End every session; the kept states are not deleted."""
        if self.shelf is not None:
            self.shelf.close()
        self.store.close()

    def _gone(self) -> dict[Any, str]:
        return {self.parts["bar"]: encode(header_bar.gone(), NEWEST)}

    def _nothing(self) -> dict[Any, Any]:
        return {self.parts["bar"]: gr.skip()}

    def _leave(self, request: gr.Request) -> None:
        self.store.leave(request.session_hash or "")

    def _outputs(self, pieces: dict[str, str]) -> dict[Any, str]:
        return {self.parts[name]: value for name, value in pieces.items()}

    def _answer(self, session_id: str, page: str, tab: Tab, act: Callable[[Session], Names]) -> dict[Any, str]:
        """Find the caller's session, act, and return changed pieces; an error becomes a sentence in its place."""
        if not session_id:
            return self._nothing()  # the page does not have its id yet
        session = self.store.get(session_id)
        if session is None:
            return self._gone()
        begin_thread(WORKERS.threads)  # the server's own threads answer, and may compute what a card shows
        try:
            names = act(session)
        except EsmVizError as error:
            names = _refused(session, tab, str(error))
        except Exception:  # noqa: BLE001 - a visitor sees a sentence, never a traceback
            _LOG.debug("handler", exc_info=True)
            names = _refused(session, tab, UNEXPECTED)
        touch(session, names)
        return self._outputs(paint(session, names, page))

    def _handler(self, tab: Tab) -> Callable[..., dict[Any, str]]:
        def handle(session_id: str, event: gr.EventData, request: gr.Request) -> dict[Any, str]:
            message, page = checked_fields(message_of(event)), request.session_hash or ""

            def act(session: Session) -> Names:
                session.errors.pop(share_link_actions.PLACE, None)  # the visitor has read it
                session.sight(page).sequence = max(session.sight(page).sequence, number(message, "seq", NEWEST) or 0)
                return tab.act(session, message)

            return self._answer(session_id, page, tab, act)

        return handle

    def _arrival(self, tab: Tab, arrive: Callable[[Session], Names]) -> Callable[..., dict[Any, str]]:
        def handle(session_id: str, request: gr.Request) -> dict[Any, str]:
            return self._answer(session_id, request.session_hash or "", tab, arrive)

        return handle

    def _upload(self, session_id: str, _: None, request: gr.Request) -> dict[Any, Any]:
        """Take files that the request filter has received; the message's own file names are not trusted."""

        def receive(session: Session) -> Names:
            sent = request.request.state.files if request.request else ()
            files = self.inbox.take(_caller(request), sent)
            session.uploaded += weighed(files, self.place.limits.uploads - session.uploaded)
            return load_tab.receive(session, files)

        return {self.drop: None, **self._answer(session_id, request.session_hash or "", load_tab.TAB, receive)}

    async def _tick(self, session_id: str, event: gr.EventData, request: gr.Request) -> dict[Any, str]:
        """Return the pieces that changed since the page's last update, waiting a moment for some, or the progress."""
        session = self.store.get(session_id)
        if session is None:
            return self._gone() if session_id else self._nothing()
        page, arrived = request.session_hash or "", number(checked_fields(message_of(event)), "arrived", NEWEST)
        until = time.monotonic() + min(LONGEST, max(WAIT, self._asking * EACH))
        self._asking += 1
        try:
            while True:
                newest = session.newest
                # in a thread, since another request may hold the session's lock
                names = await asyncio.to_thread(session.changed, page, PIECES, arrived)
                if names or not session.busy or time.monotonic() > until:
                    break
                while _stands(session, newest) and time.monotonic() < until:
                    await asyncio.sleep(LOOK)
        finally:
            self._asking -= 1
        return self._outputs(await asyncio.to_thread(_late, session, page, arrived))


def _caller(request: gr.Request) -> str:
    return caller(request.request) if request.request else ""


def _late(session: Session, page: str, arrived: int | None) -> dict[str, str]:
    """Return changed pieces and whether more will follow, both under one lock, so that no last result is missed."""
    begin_thread(WORKERS.threads)
    with session.lock:
        return paint(session, session.changed(page, PIECES, arrived), page, True)


def _stands(session: Session, newest: int) -> bool:
    """Say whether a job is running and nothing has changed since a version."""
    return session.busy and session.newest == newest


def _refused(session: Session, tab: Tab, sentence: str) -> Names:
    """Keep the error of a refused message, and return the names of the pieces that show it."""
    session.errors[tab.place] = sentence
    return (tab.place if tab.place in PIECES else tab.pieces[0].name, *(piece.name for piece in tab.pieces))
