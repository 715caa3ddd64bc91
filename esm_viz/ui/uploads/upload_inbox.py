"""The inbox of uploaded files that no session has taken yet: the sender of each file, and the room for further ones.

Gradio keeps uploads in one folder under names made from their content, and accepts any path in a message as an upload.
Here, a path is accepted only once, and only from the address that has just sent that file.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from esm_viz.core.errors import RecipeError
from esm_viz.figures.number_format import size

MOST_FILES = 200  # of one upload
SPARE = 10**9  # bytes of the disk that uploads leave free
STALLED = 60.0  # seconds without a byte after which an upload has failed
KEPT = 3600.0  # seconds after which a file that no session took is deleted
WAITING = 4  # limit per network address of arriving and waiting bytes, as a multiple of one person's limit


@dataclass
class _Sent:
    """The senders of a file, how often each sent it, and when last; equal files have one path."""

    owners: Counter[str] = field(default_factory=Counter)
    at: float = 0.0


class UploadInbox:
    """One server's uploads."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Manage a folder of uploads, with a limit in bytes for one person."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.limit = folder, limit
        self._files: dict[str, _Sent] = {}  # by path
        self._coming: Counter[str] = Counter()  # arriving bytes, by address
        self._lock = threading.Lock()

    @contextmanager
    def expect(self, address: str, length: int) -> Iterator[None]:
        """Reserve room for an upload while it arrives.

        Raises:
            RecipeError: it is too large, or there is no room for it.
        """
        if length > self.limit:
            raise RecipeError(f"this upload is {size(length)}", f"bring at most {size(self.limit)}, or fewer files")
        with self._lock:
            if self._coming[address] + self._waiting(address) + length > WAITING * self.limit:
                raise RecipeError("earlier uploads are still on their way", "wait until they are done")
            if shutil.disk_usage(self.folder).free - sum(self._coming.values()) - length < SPARE:
                raise RecipeError("this server's disk is full", "tell its operator, or bring smaller files")
            self._coming[address] += length
        try:
            yield
        finally:
            with self._lock:
                self._coming[address] -= length
                self._coming = +self._coming
                self._sweep()

    def add(self, address: str, paths: Sequence[str]) -> None:
        """Record files that an address has sent."""
        now = time.monotonic()
        with self._lock:
            for path in [path for path, sent in self._files.items() if now - sent.at > KEPT]:
                Path(path).unlink(missing_ok=True)
                del self._files[path]
            for path in paths:
                sent = self._files.setdefault(path, _Sent())
                sent.owners[address] += 1
                sent.at = now

    def take(self, address: str, paths: Sequence[object]) -> list[str]:
        """Return the paths if they are files that this address has just sent; each can be taken once.

        Raises:
            RecipeError: they are not.
        """
        names = [path for path in paths if isinstance(path, str)]
        if not names or len(names) != len(paths) or len(names) > MOST_FILES or len(set(names)) != len(names):
            raise RecipeError("this is no upload", f"bring between 1 and {MOST_FILES} files at once")
        with self._lock:
            if not all(name in self._files and self._files[name].owners[address] > 0 for name in names):
                raise RecipeError("these files did not come from here just now", "upload them again")
            for name in names:
                self._files[name].owners[address] -= 1
        return names

    def _sweep(self) -> None:
        """Delete the remains of interrupted uploads, which are plain files, while complete ones lie in folders."""
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):
                if path.is_file() and (not self._coming or time.time() - path.stat().st_mtime > STALLED):
                    path.unlink()

    def _waiting(self, address: str) -> int:
        paths = [Path(path) for path, sent in self._files.items() if sent.owners[address] > 0]
        return sum(path.stat().st_size for path in paths if path.is_file())


def weighed(files: Sequence[str], left: int) -> int:
    """Return the total bytes of files; delete the files if they are too large.

    Args:
        files: files taken from an inbox.
        left: bytes that this visitor may still upload.

    Raises:
        RecipeError: they are larger than that.
    """
    paths = [Path(file) for file in files]
    total = sum(path.stat().st_size for path in paths if path.is_file())
    if total > left:
        for path in paths:
            path.unlink(missing_ok=True)
        raise RecipeError(f"these files are {size(total)}", f"you can bring {size(max(0, left))} more to this server")
    return total
