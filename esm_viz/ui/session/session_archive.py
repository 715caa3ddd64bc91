"""What outlives the server, where its operator gave a folder for it: one small file a session, a recipe and a view.

A file is named by the SHA-256 of its session's id, so that whoever reads the folder can open no session with it. It
holds the state of a share link, and the recipe; no weights, no images, nothing measured. What it says is checked like a
link and a recipe from a stranger.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esm_viz.core.errors import EsmVizError, RecipeError
from esm_viz.core.recipe import LARGEST_RECIPE, Recipe, parse_text, sha256_text
from esm_viz.ui.session import share_link
from esm_viz.ui.session.session_store import Lost, Session, Store
from esm_viz.ui.session.share_link import Link

VERSION = 1
OPENING, FOLDER, UPLOAD = SOURCES = ("opening", "folder", "upload")
LARGEST = 2 * LARGEST_RECIPE + (1 << 17)  # bytes of one file: two recipes, what is on screen, and their quotes
MOST = 1000  # files; the oldest make room
KEPT_SECONDS = 21 * 24 * 3600.0
OFTEN = 1.0  # seconds between two looks for what changed
_ID = re.compile(r"[\w-]{22}", re.ASCII)  # what a session's id looks like
_NAME = re.compile(r"[0-9a-f]{64}\.json")
_LOG = logging.getLogger("esm_viz.ui")


@dataclass(frozen=True, slots=True)
class Kept:
    """One session as it comes back.

    Attributes:
        source: where its project's files are: the opening project's, the allowed folder's, or an upload's.
        link: what was on screen, as a share link says it.
        recipe: what was on screen, its paths as they were written.
        lost: what had not come back the last time.
    """

    source: str
    link: Link
    recipe: str
    lost: Lost | None

    @classmethod
    def of(cls, session: Session) -> Kept:
        """Return what is kept of a session."""
        with session.lock:
            project, own = session.project, session.folder
            mine = own is not None and project.recipe.folder.is_relative_to(own)
            source = OPENING if project is session.place.demo else UPLOAD if mine else FOLDER
            return cls(source, share_link.link_of(session), session.recipe.to_yaml(), session.lost)

    def parsed(self, folder: Path) -> Recipe:
        """Return the recipe, its files below a folder.

        Raises:
            RecipeError: it is none.
        """
        return parse_text(self.recipe, folder, self.link.project)

    def write(self) -> str:
        """Return it as JSON."""
        lost = [self.lost.words, self.lost.recipe] if self.lost else None
        told = {"source": self.source, "link": share_link.write(self.link), "recipe": self.recipe, "lost": lost}
        return json.dumps({"esm_viz": VERSION, **told}, ensure_ascii=False)

    @classmethod
    def read(cls, text: str) -> Kept:
        """Read it, whoever wrote it.

        Raises:
            RecipeError: it is no such file of this version.
        """
        try:
            raw: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RecipeError("this state is not whole", "remove it") from error
        if not isinstance(raw, dict) or raw.get("esm_viz") != VERSION or raw.get("source") not in SOURCES:
            raise RecipeError("this state is of another version", "remove it")
        link, recipe, lost = raw.get("link"), raw.get("recipe"), raw.get("lost")
        two = [None, None] if lost is None else lost
        if not isinstance(link, str) or not isinstance(recipe, str) or not isinstance(two, list) or len(two) != 2:
            raise RecipeError("this state lacks a part", "remove it")
        if lost is not None and not all(isinstance(part, str) for part in two):
            raise RecipeError("this state lacks a part", "remove it")
        return cls(raw["source"], share_link.read(link, LARGEST), recipe, Lost(*two) if lost is not None else None)


class Shelf:
    """The folder of states, and what keeps it up to date."""

    def __init__(self, folder: Path, store: Store, skips: Callable[[Session], bool]) -> None:
        """Start keeping a store's sessions.

        Args:
            folder: private, see `private`.
            store: whose sessions are kept.
            skips: says of a session that nothing of it is to be written now, so that what is kept stays.
        """
        self._folder, self._store, self._skips = folder, store, skips
        self._written: dict[str, tuple[int, str]] = {}  # version of the session, and the text, by its id
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._prune()
        threading.Thread(target=self._keep_often, name="states", daemon=True).start()

    def find(self, session_id: object) -> Kept | None:
        """Return what is kept under an id, if that is something; what is wrong with it is nobody's but a debugger's."""
        if not isinstance(session_id, str) or not _ID.fullmatch(session_id):
            return None
        try:
            return Kept.read(_read(self._path(session_id)))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, EsmVizError) as error:
            _LOG.debug("a kept state is ignored: %s", error)
            return None

    def keep(self) -> None:
        """Write what changed since the last look, and remove what belongs to sessions that have ended."""
        with self._lock:
            sessions = {session.id: session for session in self._store.opened()}
            for gone in [known for known in self._written if known not in sessions]:
                self._path(gone).unlink(missing_ok=True)
                del self._written[gone]
            for session in sessions.values():
                self._keep(session)

    def close(self) -> None:
        """Write what changed, for the last time: what is kept stays for the next server."""
        self._closed.set()
        self._try()

    def _keep(self, session: Session) -> None:
        version, text = self._written.setdefault(session.id, (0, ""))  # what nobody has touched is worth no file
        newest = session.newest
        if newest == version or self._skips(session):
            return
        told = Kept.of(session).write()
        if told != text and len(told.encode()) <= LARGEST:
            _write(self._path(session.id), told)
        self._written[session.id] = newest, told

    def _keep_often(self) -> None:
        while not self._closed.wait(OFTEN):
            self._try()

    def _try(self) -> None:
        try:
            self.keep()
        except Exception:  # noqa: BLE001 - a full disk must not end what keeps the next change
            _LOG.debug("states cannot be kept", exc_info=True)

    def _path(self, session_id: str) -> Path:
        return self._folder / f"{sha256_text(session_id)}.json"

    def _prune(self) -> None:
        """Remove states that nobody came back to, and the oldest beyond what is kept."""
        own = {path: path.lstat().st_mtime for path in self._folder.iterdir() if _NAME.fullmatch(path.name)}
        newest = sorted(own, key=lambda path: own[path], reverse=True)
        since = time.time() - KEPT_SECONDS
        for path in [path for at, path in enumerate(newest) if at >= MOST or own[path] < since]:
            path.unlink(missing_ok=True)


def private(folder: Path) -> Path:
    """Return a folder that only this user can read, made where there is none.

    Raises:
        RecipeError: others can, or it cannot be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stat = folder.stat()
        if stat.st_uid != os.getuid() or stat.st_mode & 0o077:
            remedy = "give a folder of your own, or take their rights by chmod 700"
            raise RecipeError(f"--state {folder.name} is open to others", remedy, "command line")
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise RecipeError(f"--state {folder.name} cannot be written to", "give another folder", "command line")
    except OSError as error:
        reason = f"--state {folder.name} cannot be used ({error.strerror})"
        raise RecipeError(reason, "give another folder", "command line") from error
    return folder.resolve()


def _read(path: Path) -> str:
    """Return a plain file's text; a link, a pipe and what is too long are refused."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise RecipeError("this state is too long", "remove it")
    return content.decode()


def _write(path: Path, text: str) -> None:
    """Write a file that nobody else can read, and put it in its place when it is whole."""
    beside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
