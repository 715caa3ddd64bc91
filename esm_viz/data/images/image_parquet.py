"""Parquet files with image bytes, as Hugging Face writes them: one file or a folder of files, read batch by batch.

The image column is a struct of `bytes` and `path`, or plain binary. Labels are words, or numbers whose names are in the
schema's metadata (`ClassLabel`). Only a page or two of a row group are in memory at a time, whatever its size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from esm_viz.core.errors import ImagesError
from esm_viz.data.class_labels import Classes, rows_of_numbers, rows_of_words, whole_numbers
from esm_viz.data.images.image_decoder import MOST_BYTES, Unreadable, decode
from esm_viz.data.images.image_folder import MOST_FILES, unreadable
from esm_viz.data.images.image_preprocessing import Preprocessing
from esm_viz.data.images.image_set import Decode, Fetch, ImageSet
from esm_viz.data.random_access_stream import RandomAccessStream

IMAGES = ("image", "img", "img_bytes", "image_bytes")
LABELS = ("label", "labels", "fine_label")  # CIFAR-100 has two; the papers' task is `fine_label`
MOST_GROUP = 4_000_000_000  # bytes of one row group's images, unpacked
MOST_RATIO, SMALL = 200, 1_000_000  # images are already compressed, so a larger ratio means a bomb
BATCH = 8  # rows read at once
_BUFFER = 1 << 20
_DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError)


class _Group(NamedTuple):
    """One row group of one file."""

    path: Path
    at: int
    rows: int


class _Labels(NamedTuple):
    """One file's labels: whole numbers, with the names of the classes if the schema has them, or words."""

    values: Any
    names: tuple[str, ...]


def open_parquet(path: Path, files: Sequence[Path], how: Preprocessing, classes: Classes | None) -> ImageSet:
    """List the rows of one table; reads only the files' footers and the label column.

    Args:
        path: path in the recipe, for error messages.
        files: the table's parts, in order.
        how: the tower's preprocessing.
        classes: classes of the task's head; None if labels are not needed.

    Raises:
        ImagesError: a file cannot be read, has no column of images or labels, or its labels do not fit the head.
    """
    groups: list[_Group] = []
    labels: list[_Labels] = []
    empty = True  # whether no row has bytes
    try:
        for file in files:
            with pq.ParquetFile(file) as table:
                image = _image_column(table.schema_arrow, path)
                groups += _groups(table, file, image, path)
                empty = empty and _without_bytes(table, image)
                if classes is not None:
                    labels.append(_labels(table, path))
    except _DAMAGED as error:
        raise ImagesError("the parquet file cannot be read", "save or download it again", path.name) from error
    count = sum(group.rows for group in groups)
    if not 0 < count <= MOST_FILES:
        raise ImagesError(f"there are {count} images", f"give 1 to {MOST_FILES}", path.name)
    if empty:
        wrong = f"the column `{image}` holds no image bytes, at most the images' paths"
        raise ImagesError(wrong, "save the images themselves into the table, or give their folder", path.name)
    rows, known = _rows(labels, classes, path.name) if classes is not None else (None, ())
    return ImageSet(path.name, count, rows, _Rows(path, groups, image), how, known)


def names_in(file: Path) -> tuple[str, ...]:
    """Return the names of the classes in one table.

    Raises:
        ImagesError: it cannot be read.
    """
    try:
        with pq.ParquetFile(file) as table:
            column = label_column(table.schema_arrow)
            return class_names(table.schema_arrow, column) if column else ()
    except _DAMAGED as error:
        raise ImagesError("the parquet file cannot be read", "save or download it again", file.name) from error


def class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Return the class names that a Hugging Face schema has for a column of numbers; empty if it has none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return ()


def label_column(schema: pa.Schema) -> str | None:
    """Return the name of the label column; None if no column has one of the names in LABELS."""
    return next((name for name in LABELS if name in schema.names), None)


def _image_column(schema: pa.Schema, path: Path) -> str:
    fitting = [field.name for field in schema if _holds_bytes(field.type)]
    usual = [name for name in IMAGES if name in fitting]
    if not usual and len(fitting) != 1:
        what = f"{len(fitting)} columns of bytes" if fitting else "no column of image bytes"
        raise ImagesError(f"the table has {what}", f"name it `{IMAGES[0]}`", path.name)
    return (usual or fitting)[0]


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _holds_bytes(kind.field(at).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _groups(table: pq.ParquetFile, file: Path, image: str, path: Path) -> Iterator[_Group]:
    """Yield a file's row groups, from its footer; refuse groups that unpack to too many bytes."""
    for at in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(at)
        for number in range(group.num_columns):
            column = group.column(number)
            if column.path_in_schema.split(".")[0] != image:
                continue
            whole, packed = column.total_uncompressed_size, column.total_compressed_size
            if whole > MOST_GROUP or whole > SMALL + MOST_RATIO * packed:
                raise ImagesError(
                    f"row group {at} unpacks from {packed} to {whole} bytes", "give smaller ones", path.name
                )
        yield _Group(file, at, group.num_rows)


def _without_bytes(table: pq.ParquetFile, image: str) -> bool:
    """Say whether no row of a file has image bytes: by its footer, or by the first rows of each row group."""
    for at in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(at)
        columns = [group.column(number) for number in range(group.num_columns)]
        (column,) = (one for one in columns if one.path_in_schema in (image, f"{image}.bytes"))
        if column.statistics is not None and column.statistics.has_null_count:
            if column.statistics.null_count < group.num_rows:
                return False
        elif any(value is not None for value in _first_bytes(table, image, at)):
            return False
    return True


def _first_bytes(table: pq.ParquetFile, image: str, group: int) -> list[Any]:
    """Return the image bytes of a row group's first rows, None where there are none."""
    batch = next(table.iter_batches(BATCH, [group], columns=[image], use_threads=False), None)
    items = batch.column(0).to_pylist() if batch is not None else []
    return [item.get("bytes") if isinstance(item, dict) else item for item in items]


def _labels(table: pq.ParquetFile, path: Path) -> _Labels:
    """Read one file's labels."""
    column = label_column(table.schema_arrow)
    if column is None:
        raise ImagesError("the table has no column `label`", f"name it one of {', '.join(LABELS)}", path.name)
    if table.metadata.num_rows > MOST_FILES:
        raise ImagesError("the table has too many rows", f"give at most {MOST_FILES}", path.name)
    kind = table.schema_arrow.field(column).type
    values = table.read(columns=[column]).column(column)
    if values.null_count:
        raise ImagesError(f"`{column}` has {values.null_count} empty rows", "give every image a label", path.name)
    if pa.types.is_dictionary(kind):  # a category of pandas; its codes may be in any order, so only the values count
        kind = kind.value_type
        values = values.cast(kind)
    if pa.types.is_integer(kind):
        return _Labels(values.to_numpy(), class_names(table.schema_arrow, column))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _Labels(values.to_pylist(), ())
    remedy = whole_numbers("bool" if pa.types.is_boolean(kind) else "float" if pa.types.is_floating(kind) else "")
    raise ImagesError(f"`{column}` holds {kind}", f"{remedy}, or give words", path.name)


def _rows(labels: Sequence[_Labels], classes: Classes, where: str) -> tuple[Tensor, tuple[str, ...]]:
    """Map the labels of a table's parts to rows of the head, and name the rows."""
    if all(isinstance(part.values, list) for part in labels):
        words = [word for part in labels for word in part.values]
        order, known = rows_of_words(sorted(set(words)), classes, where, "label")
        return torch.tensor([order[word] for word in words]), known
    if any(isinstance(part.values, list) for part in labels):
        wrong = "labels are numbers in one part of the table and words in another"
        raise ImagesError(wrong, "give one kind in all parts", where)
    if not classes.names and len({part.names for part in labels}) > 1:
        wrong = "the parts of the table have different names for their classes"
        raise ImagesError(wrong, "name the model's `classes` in the recipe", where)
    found = []
    for part in labels:
        numbers, rows = part.values, rows_of_numbers(part.names, classes, where)
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(rows):
            wrong = f"labels go from {numbers.min()} to {numbers.max()} for {len(rows)} classes"
            raise ImagesError(wrong, "give whole numbers from 0 that the head has rows for", where)
        found.append(torch.tensor(rows)[torch.from_numpy(numbers.astype(np.int64))])
    return torch.cat(found), classes.names or labels[0].names


class _Rows:
    """The images of a table, whose row groups are read as streams."""

    def __init__(self, path: Path, groups: Sequence[_Group], image: str) -> None:
        self._path, self._groups, self._image = path, groups, image
        starts = np.cumsum([0, *(group.rows for group in groups)]).tolist()
        self._stream = RandomAccessStream(starts[-1], starts[:-1], self._items)

    def named(self, index: int) -> str:
        return f"row {index}"

    @contextmanager
    def opened(self, how: Preprocessing) -> Iterator[Fetch]:
        def fetch(index: int) -> Decode:
            try:
                raw = self._stream.get(index)
            except (*_DAMAGED, StopIteration) as error:
                raise unreadable(self._path.name) from error
            if not isinstance(raw, bytes):
                raise Unreadable("has no bytes", "save the images themselves into the table")
            if len(raw) > MOST_BYTES:
                raise Unreadable(f"is larger than {MOST_BYTES} bytes", "give smaller images")
            return partial(decode, raw, how)

        yield fetch

    def _items(self, start: int) -> Iterator[Any]:
        for group in self._groups[start:]:
            # With a buffer of its own pyarrow reads a column page by page instead of a whole row group.
            with pq.ParquetFile(group.path, buffer_size=_BUFFER, pre_buffer=False) as table:
                for batch in table.iter_batches(BATCH, [group.at], columns=[self._image], use_threads=False):
                    for value in batch.column(0):
                        item = value.as_py()
                        yield item.get("bytes") if isinstance(item, dict) else item
