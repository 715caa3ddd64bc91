"""Folders and zips of image files: listed by name, each file read only when needed."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from esm_viz.core.errors import ImagesError
from esm_viz.data.class_labels import Classes, rows_of_folders
from esm_viz.data.images.image_decoder import MOST_BYTES, SUFFIXES, Unreadable, decode
from esm_viz.data.images.image_preprocessing import Preprocessing
from esm_viz.data.images.image_set import Decode, Fetch, ImageSet, Pictures

MOST_FILES = 2_000_000  # of one set
MOST_RATIO, SMALL = 200, 1_000_000  # a larger file that unpacks to over 200 times its size is a zip bomb
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # unpacking the other methods is not bounded in memory
_JUNK = ("__MACOSX",)  # folders that a Mac adds; hidden files and folders are left out too


def is_image(name: str) -> bool:
    """Say whether a name is that of an image file, and not of a file that a file manager left there."""
    path = PurePosixPath(name)
    return name.lower().endswith(SUFFIXES) and not any(part.startswith(".") or part in _JUNK for part in path.parts)


def open_folder(path: Path, how: Preprocessing, classes: Classes | None) -> ImageSet:
    """List a folder of images; labelled images lie in one subfolder for each class, at any depth.

    Raises:
        ImagesError: there is no image in it, or the class folders do not fit the head.
    """
    names = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    found = sorted(filter(is_image, names))
    return _listed(path.name, found, _Folder(path, found), how, classes)


def open_zip(path: Path, how: Preprocessing, classes: Classes | None) -> ImageSet:
    """List a zip of images, whose files may lie inside one top folder.

    Raises:
        ImagesError: it cannot be read, has no images, would unpack to too many bytes, or its folders do not fit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if is_image(entry.filename)]
    except (zipfile.BadZipFile, OSError, ValueError, LookupError, NotImplementedError) as error:
        raise ImagesError("the zip cannot be read", "make it again", path.name) from error
    for entry in entries:
        if entry.file_size > MOST_BYTES:
            raise ImagesError(f"{entry.filename} is larger than {MOST_BYTES} bytes", "give ordinary images", path.name)
        if entry.file_size > SMALL + MOST_RATIO * entry.compress_size:
            wrong = f"{entry.filename} unpacks to more than {MOST_RATIO} times its size"
            raise ImagesError(wrong, "give ordinary images", path.name)
        if entry.compress_type not in METHODS:
            raise ImagesError(f"{entry.filename} is packed in an unusual way", "make the zip again", path.name)
    names = sorted({entry.filename for entry in entries})
    return _listed(path.name, names, _Zip(path, names), how, classes)


def unreadable(where: str) -> ImagesError:
    """Return the error for a set that was listed but cannot be read any more."""
    return ImagesError("an image cannot be read", "check that the files are still there and whole", where)


def _listed(where: str, names: list[str], pictures: Pictures, how: Preprocessing, classes: Classes | None) -> ImageSet:
    if not names:
        raise ImagesError("there are no images", f"give {', '.join(SUFFIXES[:4])} files", where)
    if len(names) > MOST_FILES:
        raise ImagesError(f"there are more than {MOST_FILES} images", "give fewer", where)
    labels, known = _folder_labels(names, classes, where) if classes is not None else (None, ())
    return ImageSet(where, len(names), labels, pictures, how, known)


def _folder_labels(names: Sequence[str], classes: Classes, where: str) -> tuple[Tensor, tuple[str, ...]]:
    """Map the innermost folder of each image to a row of the head, and name the rows."""
    folders = [PurePosixPath(name).parent.name for name in names]
    if "" in folders:
        raise ImagesError("labelled images are not in class folders", "make one subfolder a class", where)
    rows, known = rows_of_folders(sorted(set(folders)), classes, where)
    return torch.tensor([rows[folder] for folder in folders]), known


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
            return partial(decode, raw, how)

        yield fetch


@dataclass(frozen=True, slots=True)
class _Zip:
    path: Path
    names: Sequence[str]

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
                entry = archive.getinfo(self.names[index])
                with archive.open(entry) as file:  # at most the size in its header is unpacked
                    raw = file.read(entry.file_size)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:  # this entry's own checksum or stream
                raise Unreadable from error
            except (OSError, RuntimeError, LookupError) as error:  # a password is a RuntimeError
                raise unreadable(self.path.name) from error
            return partial(decode, raw, how)

        with archive:
            yield fetch
