"""Temporary folders that outlive no server: each is held by a lock while its server lives, and a later one clears up.

The system gives a lock back however a process ends, also by a signal that nobody can catch. A number of a process would
not do: another one, or one of another container, can have it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "esm_viz-"
MARK = ".esm_viz-server"  # in each of our folders; what has none is somebody's own, whatever its name
_held: dict[Path, int] = {}  # descriptor of the mark, by folder
_LOG = logging.getLogger("esm_viz.ui")


def make(kind: str = "", around: str | Path | None = None) -> Path:
    """Return a new private folder that is held until `remove`, or until this process ends.

    Args:
        kind: a word for its name.
        around: where it is made; the system's folder for temporary files where None.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX + kind, dir=around))
    new = folder / f"{MARK}.new"
    mark = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(folder / MARK)  # held before anybody can find it
    except OSError:  # a file system without locks: nothing there is ever taken for a leftover
        new.unlink()
    _held[folder] = mark
    return folder


def remove(folder: Path) -> None:
    """Remove a folder that `make` made, with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    mark = _held.pop(folder, None)
    if mark is not None:
        os.close(mark)


def clear(around: str | Path | None = None) -> int:
    """Remove the folders that servers of this user left when they were killed, and say how many those were."""
    return sum(_clear(folder) for folder in Path(around or tempfile.gettempdir()).glob(f"{PREFIX}*"))


def _clear(folder: Path) -> bool:
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return False
        mark = os.open(folder / MARK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False  # it is none of ours, or just went
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except OSError:
        return False  # its server lives, or another one clears up
    finally:
        os.close(mark)
    _LOG.debug("%s was left by a server that was killed", folder.name)
    return True
