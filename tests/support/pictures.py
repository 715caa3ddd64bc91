"""Image files, folders and zips of them, for tests of the data room."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.tiny import SIDE


def picture(seed: int, size: tuple[int, int] = (SIDE, SIDE), kind: str = "PNG") -> bytes:
    """Return an image file of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return written(Image.fromarray(pixels), kind)


def written(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return an image as a file of this kind."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, raw in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(raw)
    return root


def zip_of(path: Path, files: dict[str, bytes], packed: int = zipfile.ZIP_STORED) -> Path:
    """Write files into a zip."""
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
    return path
