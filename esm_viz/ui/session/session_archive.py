"""The archive of sessions on disk, for restarts of the server: one small file per session with its recipe and view.

A file's name is the SHA-256 of its session's id, so the files do not give access to sessions. A file holds the recipe
and the state of a share link, but no weights, images or results. It is checked like any link and recipe from a visitor.
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
from esm_viz.ui.session.session_store import LostProject, Session, Store
from esm_viz.ui.session.share_link import Link

VERSION = 1
OPENING, FOLDER, UPLOAD, NAMES = SOURCES = ("opening", "folder", "upload", "names")
LARGEST = 2 * LARGEST_RECIPE + (1 << 17)  # bytes of one file: two recipes and the view, as JSON
MOST = 1000  # files; the oldest are deleted
KEPT_SECONDS = 21 * 24 * 3600.0
OFTEN = 1.0  # seconds between two checks for changes
_ID = re.compile(r"[\w-]{22}", re.ASCII)  # form of a session's id
_NAME = re.compile(r"[0-9a-f]{64}\.json")
_LOG = logging.getLogger("esm_viz.ui")


@dataclass(frozen=True, slots=True)
class ArchivedSession:
    """The kept state of one session.

    Attributes:
        source: origin of its project's files: the opening project, the allowed folder, or an upload.
        link: the view, as in a share link.
        recipe: the recipe on screen, with its paths as written.
        lost: the project that could not be restored at the last restart.
    """

    source: str
    link: Link
    recipe: str
    lost: LostProject | None

    @classmethod
    def of(cls, session: Session) -> ArchivedSession:
        """Return the state of a session to keep."""
        with session.lock:
            project, own = session.project, session.folder
            mine = own is not None and project.recipe.folder.is_relative_to(own)
            named = bool(project.recipe.names) and not project.recipe.paths
            source = OPENING if project is session.place.demo else NAMES if named else UPLOAD if mine else FOLDER
            return cls(source, share_link.link_of(session), session.recipe.to_yaml(), session.lost)

    def parsed(self, folder: Path) -> Recipe:
        """Return the recipe with paths relative to a folder.

        Raises:
            RecipeError: it is not a recipe.
        """
        return parse_text(self.recipe, folder, self.link.project)

    def write(self) -> str:
        """Return the state as JSON."""
        lost = [self.lost.words, self.lost.recipe] if self.lost else None
        told = {"source": self.source, "link": share_link.write(self.link), "recipe": self.recipe, "lost": lost}
        return json.dumps({"esm_viz": VERSION, **told}, ensure_ascii=False)

    @classmethod
    def read(cls, text: str) -> ArchivedSession:
        """Parse and check a state.

        Raises:
            RecipeError: it is not a valid state of this version.
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
        return cls(
            raw["source"], share_link.read(link, LARGEST), recipe, LostProject(*two) if lost is not None else None
        )


class SessionArchive:
    """The folder of kept states, and the thread that updates it."""

    def __init__(self, folder: Path, store: Store, skips: Callable[[Session], bool]) -> None:
        """Start keeping a store's sessions.

        Args:
            folder: a private folder, from `private`.
            store: the sessions to keep.
            skips: says whether a session's file must not be updated now.
        """
        self._folder, self._store, self._skips = folder, store, skips
        self._written: dict[str, tuple[int, str]] = {}  # session's version and text, by its id
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._prune()
        threading.Thread(target=self._keep_often, name="states", daemon=True).start()

    def find(self, session_id: object) -> ArchivedSession | None:
        """Return the kept state of a session id; None if there is none or it is not valid, which is only logged."""
        if not isinstance(session_id, str) or not _ID.fullmatch(session_id):
            return None
        try:
            return ArchivedSession.read(_read(self._path(session_id)))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, EsmVizError) as error:
            _LOG.debug("a kept state is ignored: %s", error)
            return None

    def keep(self) -> None:
        """Write the sessions that changed since the last call, and delete the files of those that have ended."""
        with self._lock:
            sessions = {session.id: session for session in self._store.opened()}
            for gone in [known for known in self._written if known not in sessions]:
                self._path(gone).unlink(missing_ok=True)
                del self._written[gone]
            for session in sessions.values():
                self._keep(session)

    def close(self) -> None:
        """Write changed sessions for the last time; their files stay for the next server."""
        self._closed.set()
        self._try()

    def _keep(self, session: Session) -> None:
        version, text = self._written.setdefault(session.id, (0, ""))  # an unchanged new session gets no file
        newest = session.newest
        if newest == version or self._skips(session):
            return
        told = ArchivedSession.of(session).write()
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
        """Delete expired states, and the oldest ones if there are too many."""
        own = {path: path.lstat().st_mtime for path in self._folder.iterdir() if _NAME.fullmatch(path.name)}
        newest = sorted(own, key=lambda path: own[path], reverse=True)
        since = time.time() - KEPT_SECONDS
        for path in [path for at, path in enumerate(newest) if at >= MOST or own[path] < since]:
            path.unlink(missing_ok=True)


def private(folder: Path) -> Path:
    """Return a folder that only this user can read; make it if it is missing.

    Raises:
        RecipeError: others can read it, or it cannot be used.
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
    """Return the text of a plain file; links, pipes and too long files are refused."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise RecipeError("this state is too long", "remove it")
    return content.decode()


def _write(path: Path, text: str) -> None:
    """Write a file atomically, readable only by this user."""
    beside = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
