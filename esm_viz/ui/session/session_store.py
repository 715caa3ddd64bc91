"""The sessions of all visitors: project, recipe, pinned state and history, by a random id.

Gradio's own state has a short session hash and is lost at a reload. Here, the id is 128 random bits that the browser
stores, so a reload or a second tab comes back to the same session. Every piece of the page has the version at which it
last changed, and every open page the versions that it was sent, so each page gets all late results.
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
from typing import Any, Literal

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import (
    AlphaSearch,
    Difference,
    Evaluation,
    ExpertAgreement,
    ExportProof,
    MergeReport,
    OwnAccuracy,
    ProofRow,
)
from esm_viz.project.project import Project
from esm_viz.runtime.freed_memory import give_back
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.server import temporary_folders
from esm_viz.ui.session.project_to_load import Candidate
from esm_viz.ui.session.session_searches import Searches
from esm_viz.ui.session.studio_settings import StudioSettings

MOST_SESSIONS = 200
IDLE_SECONDS = 3 * 3600.0
GRACE_SECONDS = 600.0  # until a session ends after its last page was closed or lost its connection
STOP_SECONDS = 60.0  # until the jobs of a session without a page are stopped; a reload is faster
SWEEP_SECONDS = 60.0  # between two checks for expired sessions
MOST_PAGES = 32  # of one session
MOST_HISTORY = 40
EVERYTHING = "everything"  # stands for the names of all pieces


@dataclass(frozen=True, slots=True)
class State:
    """One recipe with its results: an entry of the history, or the pinned state A."""

    recipe: Recipe
    report: MergeReport
    evaluation: Evaluation | None
    words: str  # trusted HTML: the change since the entry before
    agreement: ExpertAgreement | None = None


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One row of the leaderboard, measured on test images."""

    title: str
    recipe: Recipe
    evaluation: Evaluation
    searched: bool
    seconds: float = 0.0  # time of the measurement on this machine
    kept: bool = False  # measured when the opening project was built, see esm_viz/project/leaderboard.py


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """One row of the leaderboard without labels, measured on proxies."""

    title: str
    recipe: Recipe
    agreement: ExpertAgreement
    seconds: float  # time of the measurement on this machine


@dataclass(frozen=True, slots=True)
class LostProject:
    """A project that could not be restored after a restart: the reason in one sentence, and its recipe as YAML."""

    words: str
    recipe: str


Heat = Literal["direction", "size", "both", "difference"]


@dataclass
class View:
    """The selections of the visitor on all tabs."""

    kind: str = "rank90"
    cell: tuple[str, str] | None = None  # task, layer name
    pair: tuple[str, str] | None = None
    spectrum: str = "energy"
    direction: int = 1
    family: str = "all"
    heat: Heat = "direction"  # what the map on Merge shows
    task: str = ""  # task of flips and confusion; the first one if empty
    against: str = "a"  # the model with which flips compare: "a", "pretrained", "finetuned"
    image: int = -1  # index in the labelled set of the clicked flip
    confused: str = "b"  # the model of the confusion matrix: "b", "a", "pretrained", "finetuned"
    routes: str = "layers"  # or "where" routes go
    routed: str = ""  # the layer whose routes are shown; the mean of all if empty
    route: tuple[str, str] | None = None  # the chosen cell of the routes: the images' task, and the adapter's
    routed_image: int = -1  # index in the labelled set of the clicked image of that cell
    layout: str = ""  # layout of the exported file; the base file's if empty
    levels: bool = False  # whether all levels of scaling are shown, not only the inter-layer level
    agreement: bool = False  # whether agreement is shown in place of accuracy
    words: bool = False  # whether the differences from A are shown instead of the history
    source: str = "demo"  # or "folder", "names", "upload"
    named: tuple[str, str] = ("", "")  # what was typed as names: the base's, and the fine-tunes'
    project: str = ""  # chosen in the allowed folder
    row: str = ""  # row of the table on the Load tab that is expanded


@dataclass
class PageState:
    """The state of one open page: versions of the pieces that it was sent, and number of its last knob message."""

    versions: dict[str, int] = field(default_factory=dict)
    sequence: int = 0


@dataclass
class Session:
    """The state of one visitor, in one page or several; all of it is read and written under `lock`."""

    id: str
    name: str
    project: Project
    recipe: Recipe
    place: StudioSettings
    view: View = field(default_factory=View)
    report: tuple[Recipe, MergeReport] | None = None
    validation: tuple[Recipe, Evaluation] | None = None
    difference: tuple[Recipe, Recipe, Difference] | None = None  # A, B and their comparison
    pinned: State | None = None
    history: list[State] = field(default_factory=list)
    at: int = -1
    search: tuple[Recipe, AlphaSearch] | None = None
    searched: list[Recipe] = field(default_factory=list)  # recipes with the α that a search chose, the newest last
    searches: Searches = field(default_factory=Searches)
    board: list[BoardRow] = field(default_factory=list)
    agreement_board: list[AgreementRow] = field(default_factory=list)  # of every method, where there are no labels
    proof: tuple[Recipe, ExportProof, str] | None = None  # with the token of its downloads
    refused: tuple[Recipe, tuple[ProofRow, ...]] | None = None  # the checks of an export whose proof failed
    explored: Recipe | None = None
    explore_records: dict[str, tuple[object, Any]] = field(
        default_factory=dict
    )  # Explore's slow figures: request, record
    comparison_records: dict[str, tuple[Any, Any]] = field(default_factory=dict)  # Evaluate's figures: request, record
    thumbs: Mapping[str, list[bytes]] = field(default_factory=dict)
    agreement: tuple[Recipe, ExpertAgreement] | None = None  # with the experts, on some or all proxies
    own: tuple[OwnAccuracy, ...] = ()  # accuracy of the experts on their own validation images
    candidate: Candidate | None = None  # the project on the Load tab
    errors: dict[str, str] = field(default_factory=dict)
    lost: LostProject | None = None  # shown until the visitor dismisses it
    live: Job | None = None
    task: Job | None = None
    explore_job: Job | None = None
    comparison_job: Job | None = None  # job of Evaluate's figures of B
    touched: dict[str, int] = field(default_factory=dict)  # the version at which each piece last changed
    version: int = 0
    newest: int = 0  # the version of the last change
    pages: dict[str, PageState] = field(default_factory=dict)  # by Gradio's hash of a page, oldest first
    folder: Path | None = None
    uploads: list[Path] = field(default_factory=list)  # folders of uploaded files
    downloads: dict[str, Path] = field(default_factory=dict)  # folders whose files may be downloaded, by token
    ticket: str = field(default_factory=lambda: secrets.token_urlsafe(16))  # token that only reads the recipe
    address: str = ""  # network address from which it was opened
    uploaded: int = 0  # bytes of all uploads
    left: float | None = None  # when the last page was closed
    seen: float = field(default_factory=time.monotonic)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def _jobs(self) -> tuple[Job | None, ...]:
        return self.live, self.task, self.explore_job, self.comparison_job

    @property
    def busy(self) -> bool:
        """Say whether a job runs."""
        return any(job is not None and job.alive for job in self._jobs)

    def runs(self, what: str) -> bool:
        """Say whether the explicit job of this name is running."""
        return self.task is not None and self.task.running and self.task.what == what

    def touch(self, names: Iterable[str]) -> None:
        """Mark pieces as changed, for all pages."""
        with self.lock:
            self.version += 1
            self.touched |= dict.fromkeys(names, self.version)
            self.newest = self.version

    def changed(self, page: str, names: Iterable[str], arrived: int | None = None) -> list[str]:
        """Return the pieces that changed since they were sent to a page.

        Args:
            page: Gradio's hash of the page.
            names: names of all pieces.
            arrived: the newest version that the page has; later ones were lost on the way and are sent again.
        """
        with self.lock:
            sent, every = self.sight(page).versions, self.touched.get(EVERYTHING, 0)
            ages = {name: max(self.touched.get(name, 0), every) for name in names}
            known = {name: sent.get(name, 0) for name in ages}
            if arrived is not None:
                known = {name: min(version, arrived) for name, version in known.items()}
            return [name for name, age in ages.items() if age > known[name]]

    def sight(self, page: str) -> PageState:
        """Return the state of an open page."""
        with self.lock:
            sight = self.pages.setdefault(page, PageState())
            while len(self.pages) > MOST_PAGES:
                del self.pages[next(iter(self.pages))]
            return sight

    def expired(self, now: float) -> bool:
        """Say whether the last page was closed so long ago that the session ends."""
        return now - self.seen > IDLE_SECONDS or (self.left is not None and now - self.left > GRACE_SECONDS)

    def offer(self, folder: Path) -> str:
        """Return a token under which the files of a folder may be downloaded until the session ends."""
        token = secrets.token_urlsafe(16)
        self.downloads[token] = folder
        return token

    def forget_downloads(self) -> None:
        """Delete the files offered for download."""
        for folder in self.downloads.values():
            shutil.rmtree(folder.parent, ignore_errors=True)
        self.downloads.clear()

    def private_folder(self) -> Path:
        """Return a new private folder of this session."""
        if self.folder is None:
            self.folder = temporary_folders.make()
        return Path(tempfile.mkdtemp(dir=self.folder))

    def forget_uploads(self) -> None:
        """Delete uploaded files that neither the project on screen nor the one on the Load tab uses."""
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
        """Stop its jobs and delete its files."""
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

    def open(self, place: StudioSettings, session_id: str = "") -> Session:
        """Return a new session on the opening project, with an earlier id if given; too old idle sessions end."""
        session = Session(session_id or secrets.token_urlsafe(16), place.name, place.demo, place.demo.recipe, place)
        with self._lock:
            self._sessions[session.id] = session
            if self._watch is None:
                self._watch = threading.Thread(target=self._sweep_often, name="sessions", daemon=True)
                self._watch.start()
        self.sweep()
        return session

    def sweep(self) -> None:
        """End expired sessions, and the oldest idle ones if there are too many."""
        with self._lock:
            gone = self._expired()
        for old in gone:
            self.drop(old)

    def _sweep_often(self) -> None:
        while not self._closed.wait(SWEEP_SECONDS):
            self.sweep()
            give_back()

    def get(self, session_id: object) -> Session | None:
        """Return the session of this id, or None."""
        session = self._sessions.get(session_id) if isinstance(session_id, str) else None
        if session is not None:
            session.seen, session.left = time.monotonic(), None
        return session

    def opened(self) -> list[Session]:
        """Return all sessions."""
        return list(self._sessions.values())

    def arrive(self, page: str, session: Session) -> PageState:
        """Register a page with a session, and return the page's state."""
        with self._lock:
            self._pages[page] = session.id
            own = [known for known, owner in self._pages.items() if owner == session.id]
            for old in own[:-MOST_PAGES]:
                del self._pages[old]
        with session.lock:
            session.pages.pop(page, None)
            return session.sight(page)

    def admit(self, session: Session, address: str, most: int) -> None:
        """Record a new session's network address; with more than `most` of one address, the longest idle ones end."""
        session.address = address
        own = [known for known in list(self._sessions.values()) if known.address == address and known is not session]
        own.sort(key=lambda known: (bool(known.pages), known.seen))
        for old in own[: max(0, len(own) + 1 - most)]:
            self.drop(old.id)

    def here(self) -> int:
        """Return the number of sessions with an open page."""
        with self._lock:
            return len(set(self._pages.values()))

    def ticket(self, ticket: str) -> Session | None:
        """Return the session whose recipe this token may read, or None."""
        return next((session for session in list(self._sessions.values()) if session.ticket == ticket), None)

    def drop(self, session_id: str) -> None:
        """End a session and delete its downloads."""
        with self._lock:
            session = self._sessions.pop(session_id, None)
            self._pages = {page: owner for page, owner in self._pages.items() if owner != session_id}
        if session is not None:
            session.close()
            others = [known.project for known in list(self._sessions.values())]
            session.project.forget([session.place.demo, *others])

    def leave(self, page: str) -> None:
        """Remove a closed page; after a session's last page, its jobs stop unless a page comes back in time."""
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
        """Return the file of this name offered under a token, or None."""
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
