"""Folders and zips of image files: listed by name, each file read only when needed."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from torch import Tensor

from esm_viz.core.errors import ImagesError
from esm_viz.core.folder_entries import entries
from esm_viz.data.class_labels import Classes, by_name, folded, rows_of_words
from esm_viz.data.images.image_decoder import MOST_BYTES, SUFFIXES, Unreadable, advice, decode, is_readable
from esm_viz.data.images.image_preprocessing import Preprocessing
from esm_viz.data.images.image_set import Decode, Fetch, ImageSet, Pictures, shown

MOST_FILES = 2_000_000  # of one set
MOST_RATIO, SMALL = 200, 1_000_000  # a larger file that unpacks to over 200 times its size is a zip bomb
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # unpacking the other methods is not bounded in memory
_JUNK = frozenset(
    (
        *("__MACOSX", "Thumbs.db", "desktop.ini", "Icon\r", "$RECYCLE.BIN", "System Volume Information", "lost+found"),
        *("@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot"),  # of Synology's and QNAP's storage
    )
)
"""Files and folders that computers make for themselves, some of them with pictures; so are hidden ones."""
METADATA = "metadata"
"""Stem of a table about the images in a folder, as `datasets` reads it; it is named as left out."""
_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}  # as `folded` writes


class _Found(NamedTuple):
    """What a folder or zip holds, without what a computer made for itself.

    Attributes:
        images: names of the images, sorted.
        folders: names of all folders.
        others: names of other files.
        lost: names of links that lead nowhere, or back to a folder that they lie in.
    """

    images: list[str]
    folders: list[str]
    others: list[str]
    lost: list[str]


def open_folder(path: Path, how: Preprocessing, classes: Classes | None) -> ImageSet:
    """List a folder of images; labelled images lie in one subfolder for each class. Links are followed.

    Raises:
        ImagesError: there is no image in it, or the class folders do not fit the head.
    """
    try:
        found = [entry for entry in entries(path) if not _is_junk(entry.name)]
    except OSError as error:
        raise ImagesError("the folder cannot be read", "check its rights and its links", path.name) from error
    files = [entry.name for entry in found if entry.kind == "file"]
    held = _Found(
        sorted(filter(_is_image, files)),
        [entry.name for entry in found if entry.kind == "folder"],
        [name for name in files if not _is_image(name)],
        [entry.name for entry in found if entry.kind == "lost"],
    )
    return _listed(path.name, held, _Folder(path, held.images), how, classes)


def open_zip(path: Path, how: Preprocessing, classes: Classes | None) -> ImageSet:
    """List a zip of images, whose files may lie inside one top folder.

    Raises:
        ImagesError: it cannot be read, has no images, would unpack to too many bytes, or its folders do not fit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # By name as people see it: older Windows tools write backslashes between folders.
            known = {entry.filename.replace("\\", "/"): entry for entry in archive.infolist()}
    except (zipfile.BadZipFile, OSError, ValueError, LookupError, NotImplementedError) as error:
        raise ImagesError("the zip cannot be read", "make it again", path.name) from error
    inside = {name: entry for name, entry in known.items() if not _is_junk(name)}
    linked = next((name for name, entry in inside.items() if stat.S_ISLNK(entry.external_attr >> 16)), None)
    if linked is not None:
        raise ImagesError(f"{linked} is a link, which a zip cannot follow", "pack the files themselves", path.name)
    files = [name for name in inside if not name.endswith("/")]
    images = sorted(filter(_is_image, files))
    for name in images:
        entry = inside[name]
        if entry.file_size > MOST_BYTES:
            raise ImagesError(f"{name} is larger than {MOST_BYTES} bytes", "give ordinary images", path.name)
        if entry.file_size > SMALL + MOST_RATIO * entry.compress_size:
            wrong = f"{name} unpacks to more than {MOST_RATIO} times its size"
            raise ImagesError(wrong, "give ordinary images", path.name)
        if entry.compress_type not in METHODS:
            raise ImagesError(f"{name} is packed in an unusual way", "make the zip again", path.name)
    folders = [name.rstrip("/") for name in inside if name.endswith("/")]
    held = _Found(images, folders, [name for name in files if not _is_image(name)], [])
    packed = [inside[name].filename for name in images]
    return _listed(path.name, held, _Zip(path, images, packed), how, classes)


def class_levels(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the names of the folders that could be classes: those below the set, then the innermost if others.

    Args:
        names: names of a set's images.
    """
    top, folders = _tops(names)
    levels = [sorted({parts[at] for parts in folders if len(parts) > top}) for at in (top, -1)]
    return tuple(tuple(level) for level in (levels if levels[0] != levels[1] else levels[:1]) if level)


def unreadable(where: str) -> ImagesError:
    """Return the error for a set that was listed but cannot be read any more."""
    return ImagesError("an image cannot be read", "check that the files are still there and whole", where)


def _is_junk(name: str) -> bool:
    """Say whether a file or folder is one that a computer made for itself."""
    return any(part.startswith(".") or part in _JUNK for part in PurePosixPath(name).parts)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _listed(where: str, found: _Found, pictures: Pictures, how: Preprocessing, classes: Classes | None) -> ImageSet:
    names = found.images
    if not names:
        raise ImagesError("there are no images", "give .png, .jpg, .webp or .tif files", where)
    if len(names) > MOST_FILES:
        raise ImagesError(f"there are more than {MOST_FILES} images", "give fewer", where)
    unread = [name for name in names if not is_readable(name)]
    if unread:
        more = f" and {len(unread) - 1} other images are" if len(unread) > 1 else " is"
        raise ImagesError(f"{unread[0]}{more} of a kind that is not read here", advice(unread[0]), where)
    empty = _without_images(found)
    tables = [name for name in found.others if PurePosixPath(name).stem.lower() == METADATA]
    labels, known = _folder_labels(names, empty, classes, where, tables) if classes is not None else (None, ())
    notes = [
        f"{len(these)} {one if len(these) == 1 else many} ({shown(these)})"
        for these, one, many in (
            (found.others, "other file is left out", "other files are left out"),
            (found.lost, "link leads nowhere or in a circle", "links lead nowhere or in a circle"),
            (empty if classes is not None else (), "class folder is empty", "class folders are empty"),
        )
        if these
    ]
    return ImageSet(where, len(names), labels, pictures, how, known, tuple(notes))


def _folder_labels(
    names: Sequence[str], empty: Sequence[str], classes: Classes, where: str, tables: Sequence[str]
) -> tuple[Tensor, tuple[str, ...]]:
    """Map each image's class folder to a row of the head, and name the rows.

    The class folders are those directly below the set, a top folder around all of them not counted. Folders inside them
    may be the classes only if the head's names say so.
    """
    top, folders = _tops(names)
    stray = [name for name, parts in zip(names, folders, strict=True) if len(parts) <= top]
    if stray:
        more = f" and {len(stray) - 1} other images are" if len(stray) > 1 else " is"
        remedy = "make one subfolder a class" + (f", labels in {tables[0]} are not read" if tables else "")
        raise ImagesError(f"{stray[0]}{more} in no class folder", remedy, where)
    outer, inner = [parts[top] for parts in folders], [parts[-1] for parts in folders]
    found, below = sorted(set(outer)), sorted(set(inner))
    nested = any(len(parts) > top + 1 for parts in folders)
    named = classes.names and len(by_name(found, classes.names)) == len(found)
    splits = [folder for folder in found if folded(folder) in _SPLITS]
    if nested and len(splits) > 1 and not named:
        raise ImagesError(f"it holds the sets {' and '.join(splits)}", "give one of them", where)
    if nested and not named and len(by_name(below, classes.names)) == len(below):
        outer, found = inner, below
    if nested and not classes.names and len(below) == classes.rows and found != below:
        deep = next(name for name, parts in zip(names, folders, strict=True) if len(parts) > top + 1)
        raise ImagesError(
            f"the class folders have folders in them ({PurePosixPath(deep).parent}), and either may be the classes",
            "keep one level of folders, or name the model's `classes` in the recipe",
            where,
        )
    if empty and not classes.names and len(found) != classes.rows:
        raise ImagesError(
            f"there are {len(found)} class folders with images for a head of {classes.rows} rows, "
            f"and {shown(empty)} without",
            "give every class images, or name the model's `classes` in the recipe",
            where,
        )
    rows, known = rows_of_words(found, classes, where)
    return torch.tensor([rows[folder] for folder in outer]), known


def _tops(names: Sequence[str]) -> tuple[int, list[tuple[str, ...]]]:
    """Return at which depth the class folders are, and the folders that each image lies in.

    Folders around all images are no classes, but for the last one if it holds all images itself.
    """
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    low, high = min(folders), max(folders)  # what these share, all share
    top = next((at for at, (one, other) in enumerate(zip(low, high, strict=False)) if one != other), len(low))
    return max(top - 1, 0) if all(len(parts) == top for parts in folders) else top, folders


def _without_images(found: _Found) -> list[str]:
    """Return the folders beside the class folders in which there is no image."""
    top, folders = _tops(found.images)
    around, used = folders[0][:top], {parts[: top + 1] for parts in folders}
    beside = {PurePosixPath(name).parts for name in found.folders}
    return sorted(
        parts[top] for parts in beside if len(parts) == top + 1 and parts[:top] == around and parts not in used
    )


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path
    names: Sequence[str]

    def named(self, index: int) -> str:
        return self.names[index]

    @contextmanager
    def opened(self, how: Preprocessing) -> Iterator[Fetch]:
        def fetch(index: int) -> Decode:
            file = self.path / self.names[index]
            try:
                if file.stat().st_size > MOST_BYTES:
                    raise Unreadable(f"is larger than {MOST_BYTES} bytes", "give smaller images")
                raw = file.read_bytes()
            except OSError as error:  # a missing file is not a broken image
                raise unreadable(self.path.name) from error
            return partial(decode, raw, how, self.names[index])

        yield fetch


@dataclass(frozen=True, slots=True)
class _Zip:
    path: Path
    names: Sequence[str]
    packed: Sequence[str]  # the same names as the zip writes them

    def named(self, index: int) -> str:
        return self.names[index]

    @contextmanager
    def opened(self, how: Preprocessing) -> Iterator[Fetch]:
        try:
            archive = zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile, ValueError, LookupError) as error:
            raise unreadable(self.path.name) from error

        def fetch(index: int) -> Decode:
            try:
                entry = archive.getinfo(self.packed[index])
                with archive.open(entry) as file:  # at most the size in its header is unpacked
                    raw = file.read(entry.file_size)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:  # this entry's own checksum or stream
                raise Unreadable from error
            except (OSError, RuntimeError, LookupError) as error:  # a password is a RuntimeError
                raise unreadable(self.path.name) from error
            return partial(decode, raw, how, self.names[index])

        with archive:
            yield fetch
