"""Everything below a folder, links followed: image sets, digests and checks of uploads see the same files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

MOST_FOLDERS = 100_000  # below one folder; folders that link to each other may be reached in very many ways


class Entry(NamedTuple):
    """A file or folder below a folder.

    Attributes:
        name: path from the folder, with `/`.
        kind: "lost" is a link that leads nowhere, or back to a folder that it lies in.
    """

    name: str
    kind: Literal["file", "folder", "lost"]


def entries(folder: Path) -> Iterator[Entry]:
    """Yield what lies below a folder, each folder before what is in it; a link to a folder is followed like a folder.

    Raises:
        OSError: a folder cannot be read, or there are more than MOST_FOLDERS.
    """
    left = MOST_FOLDERS

    def below(place: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[Entry]:
        nonlocal left
        with os.scandir(place) as found:
            listed = sorted(found, key=lambda entry: entry.name)
        for entry in listed:
            name = prefix + entry.name
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # links in a circle
                is_folder, is_file = False, False
            if is_file:
                yield Entry(name, "file")
            elif is_folder:
                known = _identity(Path(entry.path))
                if known in above:
                    yield Entry(name, "lost")
                    continue
                left -= 1
                if left < 0:
                    raise OSError(errno.ELOOP, "too many folders", str(folder))
                yield Entry(name, "folder")
                yield from below(Path(entry.path), f"{name}/", above | {known})
            elif entry.is_symlink():
                yield Entry(name, "lost")

    yield from below(folder, "", frozenset({_identity(folder)}))


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino
