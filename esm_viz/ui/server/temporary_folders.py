"""Temporary folders of a server: each is locked while its server runs, and unlocked ones are deleted by later servers.

The system releases a lock however a process ends, also by SIGKILL. A process id would not be enough: another process,
or one in another container, may have the same.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "esm_viz-"
MARK = ".esm_viz-server"  # in each of these folders; others are never deleted, whatever their names
_held: dict[Path, int] = {}  # file descriptor of the mark, by folder
_LOG = logging.getLogger("esm_viz.ui")


def make(kind: str = "", around: str | Path | None = None) -> Path:
    """Return a new private folder that is locked until `remove`, or until this process ends.

    Args:
        kind: a word for its name.
        around: parent folder; by default the system's folder for temporary files.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX + kind, dir=around))
    new = folder / f"{MARK}.new"
    mark = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new.rename(folder / MARK)  # locked before others can find it
    except OSError:  # a file system without locks: its folders are never deleted by others
        new.unlink()
    _held[folder] = mark
    return folder


def remove(folder: Path) -> None:
    """Delete a folder from `make`, with its contents."""
    shutil.rmtree(folder, ignore_errors=True)
    mark = _held.pop(folder, None)
    if mark is not None:
        os.close(mark)


def clear(around: str | Path | None = None) -> int:
    """Delete the folders that killed servers of this user left, and return their number."""
    return sum(_clear(folder) for folder in Path(around or tempfile.gettempdir()).glob(f"{PREFIX}*"))


def _clear(folder: Path) -> bool:
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return False
        mark = os.open(folder / MARK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False  # not such a folder, or just deleted
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    except OSError:
        return False  # its server is running, or another one deletes it
    finally:
        os.close(mark)
    _LOG.debug("%s was left by a server that was killed", folder.name)
    return True
