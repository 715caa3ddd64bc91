"""`open_images`: opens an image set of any kind that a recipe may name. Images are decoded only when needed.

| kind of image set | source of the labels |
|---|---|
| a folder or `.zip` of image files | one subfolder for each class |
| `.parquet`, or a folder of such files | a column `label` |
| `.npz` of uint8 pixels | an array `labels` |
| `.safetensors` of float32, preprocessed already, or uint8 pixels of the tower's size | a tensor `labels` |

Other packages import from this module.
"""

from __future__ import annotations

import re
from pathlib import Path

from esm_viz.checkpoints.weight_files import first_bytes, saved_instead
from esm_viz.core.errors import ImagesError
from esm_viz.data.class_labels import Classes, by_name, folded
from esm_viz.data.images.image_array import open_npz, open_safetensors
from esm_viz.data.images.image_decoder import SUFFIXES
from esm_viz.data.images.image_folder import METADATA, class_levels, open_folder, open_zip
from esm_viz.data.images.image_preprocessing import (
    MEAN,
    STD,
    THUMBNAIL,
    Preprocessing,
    normalise,
    preprocessing_of,
    shrunk,
    to_pixels,
    to_png,
)
from esm_viz.data.images.image_set import ImageSet, ReadImages, draw, drawn, evenly_spaced

_PART = re.compile(r"[-_.]?\d+([-_.]of[-_.]\d+)?$")  # a part of a table: train-00000-of-00002
KINDS = (".zip", ".parquet", ".npz", ".safetensors")
__all__ = [
    "KINDS",
    "MEAN",
    "STD",
    "SUFFIXES",
    "THUMBNAIL",
    "Classes",
    "ImageSet",
    "Preprocessing",
    "ReadImages",
    "by_name",
    "class_names",
    "draw",
    "drawn",
    "evenly_spaced",
    "folded",
    "normalise",
    "open_images",
    "preprocessing_of",
    "shrunk",
    "to_pixels",
    "to_png",
]


def open_images(path: Path, how: Preprocessing | int, classes: Classes | None = None) -> ImageSet:
    """List a set of images without decoding them.

    Args:
        path: folder, `.zip`, `.parquet`, `.npz` or `.safetensors`.
        how: the tower's preprocessing; a side in pixels alone means open_clip's default at that size.
        classes: classes of the task's head; None if labels are not needed.

    Raises:
        ImagesError: the path does not exist, cannot be read, or the labels do not fit the classes.
    """
    how = Preprocessing(how) if isinstance(how, int) else how
    if path.is_dir():
        files = _tables(path)
        return _open_table(path, files, how, classes) if files else open_folder(path, how, classes)
    if not path.is_file():
        raise ImagesError("there are no such images", "check the path in the recipe", path.name)
    other = _saved_instead(path)
    if other:
        raise ImagesError(f"{other}, no images", "download the file itself", path.name)
    kind = path.suffix.lower()
    if kind == ".zip":
        return open_zip(path, how, classes)
    if kind == ".parquet":
        return _open_table(path, [path], how, classes)
    if kind == ".npz":
        return open_npz(path, how, classes is not None)
    if kind == ".safetensors":
        return open_safetensors(path, how, classes is not None)
    raise ImagesError(
        f"images are neither folder, {', '.join(KINDS[:-1])} nor {KINDS[-1]}", "give one of these", path.name
    )


def _saved_instead(path: Path) -> str:
    try:
        return saved_instead(first_bytes(path))
    except OSError:  # the reader of this kind of file reports it
        return ""


def class_names(path: Path) -> tuple[tuple[str, ...], ...]:
    """Return the names that could be a labelled set's classes, likeliest first; empty without names.

    They are a table's names, or those of the folders below the set, sorted, and then those of the innermost folders.

    Raises:
        ImagesError: it cannot be read.
    """
    tables = _tables(path) if path.is_dir() else [path] * (path.suffix.lower() == ".parquet")
    if tables:
        from esm_viz.data.images.image_parquet import names_in

        names = names_in(tables[0])
        return (names,) if names else ()
    if not path.is_dir() and path.suffix.lower() != ".zip":
        return ()
    listed = open_images(path, 1)
    return class_levels([listed.pictures.named(index) for index in range(listed.count)])


def _tables(folder: Path) -> list[Path]:
    """Return the tables that a folder is made of; one about the images beside it, as `datasets` names it, is none."""
    listed = [entry for entry in folder.iterdir() if entry.name[0] != "."]
    tables = sorted(entry for entry in listed if entry.suffix.lower() == ".parquet")
    about = [table for table in tables if table.stem.lower() == METADATA]
    beside = any(entry.is_dir() or entry.name.lower().endswith(SUFFIXES) for entry in listed)
    return [table for table in tables if table not in about] if beside else tables


def _open_table(path: Path, files: list[Path], how: Preprocessing, classes: Classes | None) -> ImageSet:
    splits = sorted({_PART.sub("", file.stem) for file in files})
    if len(splits) > 1:
        raise ImagesError(f"the folder holds tables of {' and '.join(splits[:3])}", "give one of them", path.name)
    from esm_viz.data.images.image_parquet import (
        open_parquet,  # imported late: pyarrow is slow to import and rarely needed
    )

    return open_parquet(path, files, how, classes)
