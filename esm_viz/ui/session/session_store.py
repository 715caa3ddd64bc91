"""What the server keeps for each visitor: project, recipe, pinned state and history, under an unguessable id.

Gradio's own state hangs on a short session hash and dies with a reload; ours hangs on 128 random bits that the browser
keeps. So a reload and a second tab come back to the same session. Every piece of the page carries the version at which
it last changed, and every open page what it was sent: no page takes another one's late results away.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import AlphaSearch, Difference, Evaluation, ExportProof, MergeReport, OwnAccuracy, ProofRow
from esm_viz.project.project import Project
from esm_viz.runtime.freed_memory import give_back
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.server import temporary_folders
from esm_viz.ui.session.project_to_load import Candidate
from esm_viz.ui.session.session_searches import Searches
from esm_viz.ui.session.studio_settings import Place

MOST_SESSIONS = 200
IDLE_SECONDS = 3 * 3600.0
GRACE_SECONDS = 600.0  # after the last page was closed or its connection lost
STOP_SECONDS = 60.0  # until the work of a session without a page is stopped: a reload is back before that
SWEEP_SECONDS = 60.0  # between two looks for sessions that have ended
MOST_PAGES = 32  # of one session
MOST_HISTORY = 40
EVERYTHING = "everything"  # instead of the names of pieces to be painted anew


@dataclass(frozen=True, slots=True)
class State:
    """One recipe with what was measured of it: a line of the history, or the pinned A."""

    recipe: Recipe
    report: MergeReport
    evaluation: Evaluation | None
    words: str  # trusted HTML: what changed since the line before


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One line of the leaderboard, on test images."""

    title: str
    recipe: Recipe
    evaluation: Evaluation
    searched: bool
    seconds: float = 0.0  # that the row took here
    kept: bool = False  # it was measured when the opening project was built, see esm_viz/leaderboard.py


@dataclass(frozen=True, slots=True)
class Lost:
    """What did not come back after the server was restarted: why, in one sentence, and its recipe as YAML."""

    words: str
    recipe: str


@dataclass
class View:
    """What the visitor looks at."""

    kind: str = "rank90"
    cell: tuple[str, str] | None = None  # task, layer name
    pair: tuple[str, str] | None = None
    spectrum: str = "energy"
    direction: int = 1
    family: str = "all"
    difference: bool = False
    task: str = ""  # of flips and confusion, the first one where empty
    against: str = "a"  # with whom flips compare: "a", "pretrained", "finetuned"
    image: int = -1  # the flip that was clicked, its place in the labelled set
    confused: str = "b"  # whose answers: "b", "a", "pretrained", "finetuned"
    routes: str = "layers"  # or "where" routes go
    routed: str = ""  # the layer whose routes are shown, the mean of all where empty
    layout: str = ""  # of the exported file; the base file's where empty
    levels: bool = False  # of scaling, all of them instead of the layer level alone
    words: bool = False  # what differs from A instead of the history
    source: str = "demo"  # or "folder", "upload"
    project: str = ""  # chosen in the allowed folder
    row: str = ""  # of the table on Load that shows more


@dataclass
class Sight:
    """What one open page was sent: the version of each piece, and the number of its newest message from the rail."""

    versions: dict[str, int] = field(default_factory=dict)
    sequence: int = 0


@dataclass
class Session:
    """One visitor's work, in one page or several. Everything here is read and written under `lock`."""

    id: str
    name: str
    project: Project
    recipe: Recipe
    place: Place
    view: View = field(default_factory=View)
    report: tuple[Recipe, MergeReport] | None = None
    validation: tuple[Recipe, Evaluation] | None = None
    difference: tuple[Recipe, Recipe, Difference] | None = None  # A, B, and B's answers against A's
    pinned: State | None = None
    history: list[State] = field(default_factory=list)
    at: int = -1
    search: tuple[Recipe, AlphaSearch] | None = None
    searches: Searches = field(default_factory=Searches)
    board: list[BoardRow] = field(default_factory=list)
    proof: tuple[Recipe, ExportProof, str] | None = None  # with the token of its downloads
    refused: tuple[Recipe, tuple[ProofRow, ...]] | None = None  # checks of a model that was not what was on screen
    explored: Recipe | None = None
    looks: dict[str, tuple[object, Any]] = field(default_factory=dict)  # slower pictures: what was asked, its record
    closer: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # of Evaluate: what was asked, its record
    thumbs: Mapping[str, list[bytes]] = field(default_factory=dict)
    own: tuple[OwnAccuracy, ...] = ()  # the experts on their own validation images
    candidate: Candidate | None = None  # what is about to be loaded
    errors: dict[str, str] = field(default_factory=dict)
    lost: Lost | None = None  # with an earlier server, told until the visitor has read it
    live: Job | None = None
    task: Job | None = None
    look: Job | None = None
    close_look: Job | None = None  # what Evaluate shows of B
    touched: dict[str, int] = field(default_factory=dict)  # the version at which each piece last changed
    version: int = 0
    newest: int = 0  # the version of the last change
    pages: dict[str, Sight] = field(default_factory=dict)  # by Gradio's hash of a page, oldest first
    folder: Path | None = None
    uploads: list[Path] = field(default_factory=list)  # folders of files that were proposed
    downloads: dict[str, Path] = field(default_factory=dict)  # folders whose files may be fetched, by token
    ticket: str = field(default_factory=lambda: secrets.token_urlsafe(16))  # reads the recipe, nothing else
    address: str = ""  # of the network, from which it was opened
    uploaded: int = 0  # bytes that the visitor has brought
    left: float | None = None  # when the last page was closed
    seen: float = field(default_factory=time.monotonic)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def _jobs(self) -> tuple[Job | None, ...]:
        return self.live, self.task, self.look, self.close_look

    @property
    def busy(self) -> bool:
        """Say whether a job runs."""
        return any(job is not None and job.alive for job in self._jobs)

    def runs(self, what: str) -> bool:
        """Say whether the explicit job that runs is this one."""
        return self.task is not None and self.task.running and self.task.what == what

    def touch(self, names: Iterable[str]) -> None:
        """Note pieces that must be painted anew, on every page."""
        with self.lock:
            self.version += 1
            self.touched |= dict.fromkeys(names, self.version)
            self.newest = self.version

    def changed(self, page: str, names: Iterable[str], arrived: int | None = None) -> list[str]:
        """Return which of these pieces changed since a page was sent them.

        Args:
            page: Gradio's hash of it.
            names: of all pieces.
            arrived: the newest version that the page says it holds; what was sent after it has been lost on the way.
        """
        with self.lock:
            sent, every = self.sight(page).versions, self.touched.get(EVERYTHING, 0)
            ages = {name: max(self.touched.get(name, 0), every) for name in names}
            known = {name: sent.get(name, 0) for name in ages}
            if arrived is not None:
                known = {name: min(version, arrived) for name, version in known.items()}
            return [name for name, age in ages.items() if age > known[name]]

    def sight(self, page: str) -> Sight:
        """Return what an open page was sent."""
        with self.lock:
            sight = self.pages.setdefault(page, Sight())
            while len(self.pages) > MOST_PAGES:
                del self.pages[next(iter(self.pages))]
            return sight

    def expired(self, now: float) -> bool:
        """Say whether nobody will come back."""
        return now - self.seen > IDLE_SECONDS or (self.left is not None and now - self.left > GRACE_SECONDS)

    def offer(self, folder: Path) -> str:
        """Return a token under which the files of a folder may be downloaded until the session ends."""
        token = secrets.token_urlsafe(16)
        self.downloads[token] = folder
        return token

    def forget_downloads(self) -> None:
        """Remove the files that may be downloaded."""
        for folder in self.downloads.values():
            shutil.rmtree(folder.parent, ignore_errors=True)
        self.downloads.clear()

    def private_folder(self) -> Path:
        """Return a new folder that only this session knows."""
        if self.folder is None:
            self.folder = temporary_folders.make()
        return Path(tempfile.mkdtemp(dir=self.folder))

    def forget_uploads(self) -> None:
        """Remove uploaded files that neither the project on screen nor what is proposed was made of."""
        used = [self.project.recipe.folder, *([self.candidate.recipe.folder] if self.candidate else [])]
        for folder in [each for each in self.uploads if not any(place.is_relative_to(each) for place in used)]:
            self.uploads.remove(folder)
            shutil.rmtree(folder, ignore_errors=True)

    def stop(self) -> None:
        """Stop its jobs."""
        for job in self._jobs:
            if job is not None:
                job.cancel()

    def close(self) -> None:
        """Stop its jobs and forget its files."""
        self.stop()
        if self.folder is not None:
            temporary_folders.remove(self.folder)


class Store:
    """All sessions, and the pages that belong to them."""

    def __init__(self) -> None:
        """Start empty."""
        self._sessions: dict[str, Session] = {}
        self._pages: dict[str, str] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watch: threading.Thread | None = None

    def open(self, place: Place, session_id: str = "") -> Session:
        """Return a new session on the opening project, or under an id of before; the oldest idle ones make room."""
        session = Session(session_id or secrets.token_urlsafe(16), place.name, place.demo, place.demo.recipe, place)
        with self._lock:
            self._sessions[session.id] = session
            if self._watch is None:
                self._watch = threading.Thread(target=self._sweep_often, name="sessions", daemon=True)
                self._watch.start()
        self.sweep()
        return session

    def sweep(self) -> None:
        """End the sessions whose visitors will not come back, and the oldest idle ones beyond what is kept."""
        with self._lock:
            gone = self._expired()
        for old in gone:
            self.drop(old)

    def _sweep_often(self) -> None:
        while not self._closed.wait(SWEEP_SECONDS):
            self.sweep()
            give_back()

    def get(self, session_id: object) -> Session | None:
        """Return the session of this id, or None where there is none."""
        session = self._sessions.get(session_id) if isinstance(session_id, str) else None
        if session is not None:
            session.seen, session.left = time.monotonic(), None
        return session

    def opened(self) -> list[Session]:
        """Return all sessions."""
        return list(self._sessions.values())

    def arrive(self, page: str, session: Session) -> Sight:
        """Note that a page shows a session from now on, and return what it was sent."""
        with self._lock:
            self._pages[page] = session.id
            own = [known for known, owner in self._pages.items() if owner == session.id]
            for old in own[:-MOST_PAGES]:
                del self._pages[old]
        with session.lock:
            session.pages.pop(page, None)
            return session.sight(page)

    def admit(self, session: Session, address: str, most: int) -> None:
        """Note where a new session comes from; beyond so many of one address the ones idle longest end."""
        session.address = address
        own = [known for known in list(self._sessions.values()) if known.address == address and known is not session]
        own.sort(key=lambda known: (bool(known.pages), known.seen))
        for old in own[: max(0, len(own) + 1 - most)]:
            self.drop(old.id)

    def here(self) -> int:
        """Return how many sessions have a page open."""
        with self._lock:
            return len(set(self._pages.values()))

    def ticket(self, ticket: str) -> Session | None:
        """Return the session whose recipe this ticket may read."""
        return next((session for session in list(self._sessions.values()) if session.ticket == ticket), None)

    def drop(self, session_id: str) -> None:
        """End a session and forget its downloads."""
        with self._lock:
            session = self._sessions.pop(session_id, None)
            self._pages = {page: owner for page, owner in self._pages.items() if owner != session_id}
        if session is not None:
            session.close()
            others = [known.project for known in list(self._sessions.values())]
            session.project.forget([session.place.demo, *others])

    def leave(self, page: str) -> None:
        """Forget a page that was closed; after the last one its session's work stops, unless somebody comes back."""
        with self._lock:
            owner = self._pages.pop(page, "")
            others = owner in self._pages.values()
        session = self._sessions.get(owner)
        if session is None:
            return
        with session.lock:
            session.pages.pop(page, None)
        if not others:
            session.left = left = time.monotonic()
            later = threading.Timer(STOP_SECONDS, lambda: session.stop() if session.left == left else None)
            later.daemon = True
            later.start()

    def file(self, token: str, name: str) -> Path | None:
        """Return the file of that plain name offered under a token, or None."""
        offered = (session.downloads.get(token) for session in list(self._sessions.values()))
        folder = next(filter(None, offered), None)
        if folder is None or name != Path(name).name:
            return None
        path = folder / name
        return path if path.is_file() and path.resolve().is_relative_to(folder.resolve()) else None

    def close(self) -> None:
        """End every session."""
        self._closed.set()
        for session_id in list(self._sessions):
            self.drop(session_id)

    def _expired(self) -> list[str]:
        now = time.monotonic()
        old = [key for key, session in self._sessions.items() if session.expired(now)]
        spare = sorted(self._sessions, key=lambda key: self._sessions[key].seen)
        return list(dict.fromkeys(old + spare[: max(0, len(spare) - MOST_SESSIONS)]))
