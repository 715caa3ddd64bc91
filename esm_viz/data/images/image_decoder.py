"""Decoding of one image file in memory to the pixels a tower reads; too large images are refused before decoding."""

from __future__ import annotations

import io
import struct

from PIL import Image
from torch import Tensor

from esm_viz.data.images.image_preprocessing import Preprocessing
from esm_viz.runtime.library_warnings import quiet

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # others may start programs, as EPS does
MOST_PIXELS = 64_000_000  # of one image; larger ones are refused before they are decoded
MOST_BYTES = 100_000_000  # of one image file

# What Pillow's decoders raise for damaged files; its UnidentifiedImageError is an OSError.
_DAMAGED = (OSError, ValueError, SyntaxError, ArithmeticError, LookupError, TypeError, EOFError, struct.error)


class Unreadable(Exception):
    """One image cannot be used; its image set counts it as broken and names it."""

    def __init__(self, reason: str = "is not a readable image", remedy: str = "remove or replace it") -> None:
        super().__init__(reason, remedy)
        self.reason, self.remedy = reason, remedy


def decode(raw: bytes, how: Preprocessing) -> Tensor:
    """Return an image file as pixels of the tower's size, uint8, (3, side, side); of several frames the first.

    Raises:
        Unreadable: the file is not an image, is truncated, or has too many pixels or too much text.
    """
    try:
        with quiet(), Image.open(io.BytesIO(raw), formats=FORMATS) as image:
            # Only the header is read here; Pillow bounds the size of PNG texts and its warnings concern metadata only.
            if image.width * image.height > MOST_PIXELS:
                raise Unreadable(f"has {image.width} x {image.height} pixels", "give smaller images")
            return how.of(image)
    except Image.DecompressionBombError as error:
        raise Unreadable("has too many pixels", "give smaller images") from error
    except _DAMAGED as error:
        raise Unreadable from error
