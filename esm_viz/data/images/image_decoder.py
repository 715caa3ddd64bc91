"""Decoding of one image file in memory to the pixels a tower reads; too large images are refused before decoding."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import io
import struct
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, features
from torch import Tensor

from esm_viz.data.images.image_preprocessing import Preprocessing
from esm_viz.runtime.library_warnings import quiet

_FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif"),
    "TGA": (".tga",),
}
"""Suffixes by Pillow's name of the format; others are never tried, since some start programs, as EPS does."""
_OTHERS = (
    *(".svg", ".eps", ".psd", ".xcf", ".ico", ".icns", ".dds", ".pcx", ".exr", ".hdr", ".jxl", ".jxr", ".dcm", ".dng"),
    *(".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf"),
)  # images that are not read: told, and never left out in silence
SUFFIXES = (*(suffix for suffixes in _FORMATS.values() for suffix in suffixes), *_OTHERS)
"""Suffixes of image files, also of those that are not read."""
_NEEDS = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}  # libraries that Pillow may have been built without
_HEIF = "pillow_heif"  # Pillow's plugin for HEIC, which is used if it is installed
_WHITE = 65535  # of grey levels of 16 bits
_WHITE_IS_ZERO = 262  # tag of a TIFF whose lowest level is white, if 0; Pillow inverts those of 8 bits only
MOST_PIXELS = 64_000_000  # of one image; larger ones are refused before they are decoded
MOST_BYTES = 100_000_000  # of one image file

# What Pillow's decoders raise for damaged files; its UnidentifiedImageError is an OSError.
_DAMAGED = (OSError, ValueError, SyntaxError, ArithmeticError, LookupError, TypeError, EOFError, struct.error)


class Unreadable(Exception):
    """One image cannot be used; its image set counts it as broken and names it."""

    def __init__(self, reason: str = "is not a readable image", remedy: str = "remove or replace it") -> None:
        super().__init__(reason, remedy)
        self.reason, self.remedy = reason, remedy


def is_readable(name: str) -> bool:
    """Say whether an image file with this name is of a format that this installation reads."""
    suffix = PurePosixPath(name).suffix.lower()
    return any(suffix in _FORMATS[known] for known in _readable())


def advice(name: str) -> str:
    """Say what to do about an image file whose format this installation does not read."""
    suffix = PurePosixPath(name).suffix.lower()
    known = next((known for known, suffixes in _FORMATS.items() if suffix in suffixes), "")
    if known == "HEIF":
        return f"install {_HEIF.replace('_', '-')}, or convert to PNG"
    if known in _NEEDS:
        return f"install a Pillow that was built with {known}, or convert to PNG"
    return "convert to PNG, or remove"


def decode(raw: bytes, how: Preprocessing, name: str = "") -> Tensor:
    """Return an image file as pixels of the tower's size, uint8, (3, side, side); of several frames the first.

    Args:
        raw: the file's bytes.
        how: the tower's preprocessing.
        name: the file's name; a TGA has no mark at its start, and is tried only for files of that name.

    Raises:
        Unreadable: the file is not an image, is truncated, has too many pixels or too much text, or its grey levels
            have no known white.
    """
    formats = [known for known in _readable() if known != "TGA" or name.lower().endswith(_FORMATS["TGA"])]
    try:
        with quiet(), Image.open(io.BytesIO(raw), formats=formats) as image:
            # Only the header is read here; Pillow bounds the size of PNG texts and its warnings concern metadata only.
            if image.width * image.height > MOST_PIXELS:
                raise Unreadable(f"has {image.width} x {image.height} pixels", "give smaller images")
            return how.of(_eight_bits(image))
    except Image.DecompressionBombError as error:
        raise Unreadable("has too many pixels", "give smaller images") from error
    except _DAMAGED as error:
        raise Unreadable from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a grey image with deeper levels in 8 bits, and others as they are: Pillow would cut off all above 255.

    Of 16 bits, 0 is black and 65535 white, as PNG, PGM and TIFF define it; of floats 0 and 1.
    """
    if image.mode == "F":
        levels = np.asarray(image)
        if not (levels.min() >= 0 and levels.max() <= 1):  # also where one is NaN
            raise Unreadable("has grey levels outside 0 to 1 as floats", "save it with 8 or 16 bits")
    elif image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        levels = np.asarray(image) / _WHITE
    elif image.mode == "I":
        raise Unreadable("has grey levels of 32 bits, whose white nothing defines", "save it with 8 or 16 bits")
    else:
        return image
    if getattr(image, "tag_v2", {}).get(_WHITE_IS_ZERO) == 0:
        levels = 1 - levels
    return Image.fromarray((255 * levels).round().astype(np.uint8))


@functools.cache
def _readable() -> tuple[str, ...]:
    """Return Pillow's names of the formats that it reads here."""
    if importlib.util.find_spec(_HEIF):
        importlib.import_module(_HEIF).register_heif_opener()
    Image.init()
    built = (known for known in _FORMATS if known not in _NEEDS or features.check(_NEEDS[known]))
    return tuple(known for known in built if known in Image.OPEN)
