"""Images in one array: `.npz` with `images` or `x`, `.safetensors` with `images`; rows are read only when needed."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.lib import format as npy
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from esm_viz.core.errors import ImagesError
from esm_viz.data.class_labels import whole_numbers
from esm_viz.data.images.image_decoder import MOST_PIXELS, Unreadable
from esm_viz.data.images.image_folder import METHODS, MOST_FILES, unreadable
from esm_viz.data.images.image_preprocessing import Preprocessing
from esm_viz.data.images.image_set import Decode, Fetch, ImageSet
from esm_viz.data.random_access_stream import RandomAccessStream

IMAGES, LABELS = ("images", "x"), ("labels", "y")
LARGEST_HEADER = 10_000  # bytes of an array's header, which is a line of text
_KINDS = {"b": "bool", "f": "float", "U": "words", "S": "words"}  # of arrays that hold no whole numbers
_SHAPES = "(n, H, W), (n, H, W, 3) or (n, 3, H, W)"
_DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, RuntimeError, LookupError, SyntaxError)


def open_safetensors(path: Path, how: Preprocessing, labelled: bool) -> ImageSet:
    """List `images`, (n, 3, side, side): float32 and already preprocessed, or uint8 pixels, which are normalised.

    Raises:
        ImagesError: the file cannot be read, or its tensors are missing or of another shape or type.
    """
    side = how.side
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            if "images" not in names:
                raise ImagesError("the file has no tensor `images`", "save images as (n, 3, H, W)", path.name)
            view = file.get_slice("images")
            shape, dtype = tuple(view.get_shape()), view.get_dtype()
            labels = file.get_tensor("labels") if "labels" in names else None
    except (SafetensorError, OSError, ValueError) as error:
        raise ImagesError("the images cannot be read", "give a .safetensors file", path.name) from error
    if len(shape) != 4 or shape[1:] != (3, side, side) or not shape[0]:
        raise ImagesError(f"images are {shape}", f"give (n, 3, {side}, {side}) with n >= 1", path.name)
    if dtype not in ("F32", "U8"):
        raise ImagesError(f"images are {dtype}", "give float32 (preprocessed) or uint8 pixels", path.name)
    if labelled and labels is None:
        raise ImagesError("the file has no tensor `labels`", "save labels as int64 (n,)", path.name)
    if labels is not None:
        told = f"labels are {labels.dtype} {tuple(labels.shape)}"
        if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
            kind = "bool" if labels.dtype == torch.bool else "float"
            raise ImagesError(told, whole_numbers(kind), path.name)
        labels = labels.long()
        if tuple(labels.shape) != shape[:1] or (labels < 0).any():
            raise ImagesError(told, f"give whole numbers from 0, ({shape[0]},)", path.name)
    return ImageSet(path.name, shape[0], labels, _Tensors(path, dtype == "U8"), how)


@dataclass(frozen=True, slots=True)
class _Tensors:
    path: Path
    bytes: bool

    def named(self, index: int) -> str:
        return f"image {index}"

    @contextmanager
    def opened(self, how: Preprocessing) -> Iterator[Fetch]:
        try:
            file = safe_open(self.path, "pt")
            view = file.get_slice("images")
        except (SafetensorError, OSError) as error:
            raise unreadable(self.path.name) from error

        def fetch(index: int) -> Decode:
            try:
                stored = view[index : index + 1]
            except (SafetensorError, OSError, LookupError) as error:
                raise unreadable(self.path.name) from error
            if not self.bytes and not torch.isfinite(stored).all():
                raise ImagesError("images hold NaN or Inf", "preprocess them again", self.path.name)
            return lambda: stored[0]

        with file:
            yield fetch


class _Header(NamedTuple):
    """The header of an array in an `.npz`."""

    member: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    begins: int  # bytes before the first number

    @property
    def row(self) -> int:
        """Return the size of one image or label in bytes."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def open_npz(path: Path, how: Preprocessing, labelled: bool) -> ImageSet:
    """List an `.npz`: uint8 images of any size, which the tower's preprocessing resizes, and whole numbers as labels.

    Raises:
        ImagesError: the file cannot be read, holds Python objects, or its arrays are of another shape or type.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            images = _header(archive, members, IMAGES, path)
            if images is None:
                raise ImagesError(f"the file has no array `{IMAGES[0]}`", f"save images as {_SHAPES}", path.name)
            _judge(images, path)
            labels = _labels(archive, members, images.shape[0], path, labelled)
    except ImagesError:
        raise
    except _DAMAGED as error:
        raise ImagesError("the images cannot be read", "save the .npz again", path.name) from error
    return ImageSet(path.name, images.shape[0], labels, _Arrays(path, images), how)


def _header(archive: zipfile.ZipFile, members: Mapping[str, Any], names: tuple[str, ...], path: Path) -> _Header | None:
    """Read the header of one array, without its numbers."""
    name = next((name for name in names if name in members), None)
    if name is None:
        return None
    if members[name].compress_type not in METHODS:  # NumPy writes no others
        raise ValueError("another compression")
    with archive.open(members[name]) as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):  # 3.0 is for fields with names
            raise ValueError(f"format {version}")
        read: Callable[..., tuple[tuple[int, ...], bool, np.dtype[Any]]]
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, column_major, dtype = read(file, max_header_size=LARGEST_HEADER)
        begins = file.tell()
    if dtype.hasobject:
        raise ImagesError(f"`{name}` holds Python objects", "save plain numbers, which can be read safely", path.name)
    if column_major and len(shape) > 1:
        raise ImagesError(f"`{name}` is stored column by column", "save numpy.ascontiguousarray of it", path.name)
    return _Header(members[name], shape, dtype, begins)


def _judge(images: _Header, path: Path) -> None:
    shape, dtype = images.shape, images.dtype
    if dtype != np.uint8:
        raise ImagesError(f"images are {dtype}", "give uint8 pixels", path.name)
    if len(shape) not in (3, 4) or (len(shape) == 4 and 3 not in (shape[1], shape[3])) or min(shape) < 1:
        raise ImagesError(f"images are {shape}", f"give {_SHAPES} with n >= 1", path.name)
    if math.prod(shape[1:]) > 3 * MOST_PIXELS or shape[0] > MOST_FILES:
        raise ImagesError(f"images are {shape}", "give smaller or fewer images", path.name)
    if images.begins + shape[0] * images.row != images.member.file_size:
        raise ImagesError(f"images are {shape} by their header and of another size", "save the .npz again", path.name)


def _labels(
    archive: zipfile.ZipFile, members: Mapping[str, Any], count: int, path: Path, needed: bool
) -> Tensor | None:
    header = _header(archive, members, LABELS, path)
    if header is None:
        if needed:
            raise ImagesError(
                f"the file has no array `{LABELS[0]}`", f"save labels as whole numbers ({count},)", path.name
            )
        return None
    if header.dtype.kind in _KINDS:
        raise ImagesError(
            f"labels are {header.dtype} {header.shape}", whole_numbers(_KINDS[header.dtype.kind]), path.name
        )
    fits = header.shape in ((count,), (count, 1)) and header.dtype.kind in "iu"
    if not fits or header.begins + count * header.row != header.member.file_size:
        raise ImagesError(f"labels are {header.dtype} {header.shape}", f"give whole numbers ({count},)", path.name)
    with archive.open(header.member) as file:
        numbers = np.frombuffer(file.read(header.member.file_size)[header.begins :], header.dtype).astype(np.int64)
    if numbers.min() < 0:
        raise ImagesError("labels go below 0", "give whole numbers from 0", path.name)
    return torch.from_numpy(numbers)


class _Arrays:
    """Images of an `.npz`, unpacked as a stream, one image in memory at a time."""

    def __init__(self, path: Path, header: _Header) -> None:
        self._path, self._header = path, header
        self._stream = RandomAccessStream(header.shape[0], (0,), self._rows)

    def named(self, index: int) -> str:
        return f"image {index}"

    @contextmanager
    def opened(self, how: Preprocessing) -> Iterator[Fetch]:
        shape = self._header.shape[1:]

        def fetch(index: int) -> Decode:
            try:
                raw = self._stream.get(index)
            except (*_DAMAGED, StopIteration) as error:  # later images of the stream cannot be read either
                raise unreadable(self._path.name) from error
            pixels = np.frombuffer(raw, np.uint8).reshape(shape)
            if len(shape) == 3 and shape[2] != 3:
                pixels = np.ascontiguousarray(pixels.transpose(1, 2, 0))
            return partial(_resized, pixels, how)

        yield fetch

    def _rows(self, _start: int) -> Iterator[bytes]:
        with zipfile.ZipFile(self._path) as archive, archive.open(self._header.member) as file:
            file.read(self._header.begins)
            while raw := _exactly(file, self._header.row):
                yield raw


def _resized(pixels: np.ndarray[Any, Any], how: Preprocessing) -> Tensor:
    try:
        return how.of(Image.fromarray(pixels))
    except ValueError as error:  # an image that cannot be resized, such as 1 x 5000 pixels
        raise Unreadable from error


def _exactly(file: IO[bytes], size: int) -> bytes:
    raw = file.read(size)
    if raw and len(raw) != size:
        raise EOFError("an array ends too early")
    return raw
