"""Image sets as a recipe names them: a folder or zip of images, or `.safetensors` with `images` (and `labels`).

Opening lists names and judges them; decoding happens in `read`, only for the images that are asked for. Labelled
folders and zips have one subfolder a class. Packed images are float32 and already preprocessed, or uint8 pixels of
the tower's size, which are normalised here; both are (n, 3, H, W).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.transform import image_transform
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from esm_viz.errors import ImagesError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # others may start programs: EPS runs Ghostscript
MOST_PIXELS = 64_000_000  # of one image; larger ones are refused before they are decoded
MOST_BYTES = 100_000_000  # of one image file inside a zip
THUMBNAIL = 64  # pixels
MEAN = (0.48145466, 0.4578275, 0.40821073)  # open_clip's OpenAI mean and standard deviation
STD = (0.26862954, 0.26130258, 0.27577711)

Loader = Callable[[Sequence[int]], Tensor]


class Classes(NamedTuple):
    """What a head says of its classes: how many rows it has, and their names where it names them."""

    rows: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageSet:
    """A listed set of images.

    Attributes:
        name: file or folder name, for people.
        count: images listed.
        labels: class index of each, (count,), int64; None where unlabelled.
        load: indices -> preprocessed images, (k, 3, H, W), float32.
        classes: names that the labels count, where class folders give them.
    """

    name: str
    count: int
    labels: Tensor | None
    load: Loader
    classes: tuple[str, ...] = ()


def open_images(path: Path, side: int, classes: Classes | None = None) -> ImageSet:
    """List a set of images without decoding them.

    Args:
        path: folder, `.zip` or `.safetensors`.
        side: the tower's image size in pixels.
        classes: of the head that reads the labels; None where labels are not needed.

    Raises:
        ImagesError: nothing is there, it cannot be read, or the labels do not fit the classes.
    """
    if path.is_dir():
        names = sorted(str(file.relative_to(path).as_posix()) for file in path.rglob("*") if _is_image(file.name))
        return _listed(path.name, names, lambda some: ((path / name).read_bytes() for name in some), side, classes)
    if not path.is_file():
        raise ImagesError("there are no such images", "check the path in the recipe", path.name)
    if path.suffix == ".zip":
        return _open_zip(path, side, classes)
    if path.suffix == ".safetensors":
        return _open_packed(path, side, classes is not None)
    raise ImagesError("images are neither folder, .zip nor .safetensors", "give one of these", path.name)


def draw(count: int, most: int, seed: int) -> list[int]:
    """Return which of `count` images serve as proxies: all, or `most` drawn by the recipe's seed, ascending."""
    if count <= most:
        return list(range(count))
    generator = torch.Generator().manual_seed(seed)
    return sorted(torch.randperm(count, generator=generator)[:most].tolist())


def spread(count: int, limit: int) -> list[int]:
    """Return `limit` indices spread evenly over `count` images (0 = all), so that a quick subset sees every class."""
    if not limit or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]


def normalise(pixels: Tensor) -> Tensor:
    """Return (u8 / 255 − mean) / std, (n, 3, H, W), float32."""
    return (pixels.float() / 255 - _channels(MEAN)) / _channels(STD)


def to_pixels(images: Tensor) -> Tensor:
    """Undo `normalise`: uint8, (n, 3, H, W)."""
    return ((images * _channels(STD) + _channels(MEAN)).clamp(0, 1) * 255).round().to(torch.uint8)


def shrunk(images: Tensor, side: int = THUMBNAIL) -> Tensor:
    """Return images, (n, 3, H, W), with sides of at most `side` pixels."""
    if images.shape[-1] <= side:
        return images
    return F.interpolate(images, side, mode="bilinear", antialias=True)


def to_png(images: Tensor) -> list[bytes]:
    """Return preprocessed images, (n, 3, H, W), as PNG files."""
    files = []
    for pixels in to_pixels(images).permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


def _channels(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not PurePosixPath(name).name.startswith(".")


def _open_zip(path: Path, side: int, classes: Classes | None) -> ImageSet:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist() if _is_image(entry.filename)}
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ImagesError("the zip cannot be read", "make it again", path.name) from error
    for entry in entries.values():
        if entry.file_size > MOST_BYTES:
            raise ImagesError(f"{entry.filename} is larger than {MOST_BYTES} bytes", "give ordinary images", path.name)

    def fetch(some: Sequence[str]) -> Iterator[bytes]:
        with zipfile.ZipFile(path) as archive:
            for name in some:
                yield archive.read(name)

    return _listed(path.name, sorted(entries), fetch, side, classes)


def _listed(
    where: str,
    names: list[str],
    fetch: Callable[[Sequence[str]], Iterator[bytes]],
    side: int,
    classes: Classes | None,
) -> ImageSet:
    if not names:
        raise ImagesError("there are no images", f"give {', '.join(SUFFIXES[:4])} files", where)
    labels, known = _folder_labels(names, classes, where) if classes is not None else (None, ())

    def load(indices: Sequence[int]) -> Tensor:
        chosen = [names[index] for index in indices]
        try:
            return torch.cat([_decode(raw, name, side, where) for name, raw in zip(chosen, fetch(chosen), strict=True)])
        except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, LookupError, EOFError) as error:
            raise _unreadable(where) from error  # a zip's password is a RuntimeError, an entry that is gone a KeyError

    return ImageSet(where, len(names), labels, load, known)


def _unreadable(where: str) -> ImagesError:
    return ImagesError("an image cannot be read", "check that the files are still there and whole", where)


def _folder_labels(names: list[str], classes: Classes, where: str) -> tuple[Tensor, tuple[str, ...]]:
    """Map the innermost folder of each image to a row of the head, and name the rows.

    Raises:
        ImagesError: folders could be mapped wrongly.
    """
    folders = [PurePosixPath(name).parent.name for name in names]
    if "" in folders:
        raise ImagesError("labelled images are not in class folders", "make one subfolder a class", where)
    found = sorted(set(folders))
    if classes.names:
        unknown = [folder for folder in found if folder not in classes.names]
        if unknown:
            raise ImagesError(
                f"the folder {unknown[0]!r} is none of the head's classes ({', '.join(classes.names[:3])} …)",
                "name class folders as the head does",
                where,
            )
        known = classes.names
    elif len(found) == classes.rows:  # torchvision's ImageFolder trains heads in sorted order too
        known = tuple(found)
    else:
        raise ImagesError(
            f"there are {len(found)} class folders for a head of {classes.rows} rows",
            "give every class a folder, or name the classes in the head's metadata",
            where,
        )
    order = {name: row for row, name in enumerate(known)}
    return torch.tensor([order[folder] for folder in folders]), known


def _decode(raw: bytes, name: str, side: int, where: str) -> Tensor:
    try:
        with Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ImagesError(f"{name} has {image.width} x {image.height} pixels", "give smaller images", where)
            if image.size == (side, side):  # open_clip's resize and crop would change nothing
                pixels = np.array(image.convert("RGB"))
                return normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None])
            return image_transform(side, is_train=False, mean=MEAN, std=STD)(image)[None]
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImagesError(f"{name} is not a readable image", "remove or replace it", where) from error


def _open_packed(path: Path, side: int, labelled: bool) -> ImageSet:
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
    if labels is not None and (labels.dtype != torch.int64 or tuple(labels.shape) != shape[:1] or (labels < 0).any()):
        raise ImagesError(
            f"labels are {labels.dtype} {tuple(labels.shape)}", f"give int64 ({shape[0]},) from 0", path.name
        )

    def load(indices: Sequence[int]) -> Tensor:
        try:
            with safe_open(path, "pt") as file:
                chosen = file.get_tensor("images")[list(indices)]
        except (SafetensorError, OSError, LookupError) as error:
            raise _unreadable(path.name) from error
        if dtype == "U8":
            return normalise(chosen)
        if not torch.isfinite(chosen).all():
            raise ImagesError("images hold NaN or Inf", "preprocess them again", path.name)
        return chosen

    return ImageSet(path.name, shape[0], labels, load)
