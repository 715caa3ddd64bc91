# mypy: disable-error-code="import-not-found"
"""Artwork as arrays: glyph masks, icons, emoji, flags and photographs, read from the fetched packages."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from fontTools.ttLib import TTCollection, TTFont
from PIL import Image, ImageDraw, ImageFont

from esm_viz.demo.labelled_pictures import Bytes
from esm_viz.demo.package_sources import Sources

GLYPH_SIDE = 48  # pixels of a glyph mask, with the glyph itself at most GLYPH_EXTENT
GLYPH_EXTENT = 40
FACES_PER_PACKAGE = 6  # keeps a family with many weights from filling a task
VENDORS = {"emoji-datasource-google": "google", "emoji-datasource-twitter": "twitter"}


def glyph_families(sources: Sources, packages: Iterable[str], characters: Sequence[str]) -> dict[str, Bytes]:
    """Masks, (faces, characters, 48, 48), of each package whose fonts hold all the characters."""
    families = {}
    for package in packages:
        faces = [face for path in sources.fonts(package)[:FACES_PER_PACKAGE] if (face := _face(path, characters))]
        if faces:
            families[package] = np.stack([np.stack(face) for face in faces])
    return families


def icons(sources: Sources) -> list[tuple[str, Bytes]]:
    """Name and alpha mask of every outline icon of two icon sets."""
    folders = (sources.npm("@tabler/icons") / "icons" / "outline", sources.npm("bootstrap-icons") / "icons")
    paths = [path for folder in folders for path in sorted(folder.glob("*.svg"))]
    return [(path.stem.replace("-", " "), np.asarray(rasterise(path, GLYPH_SIDE))[..., 3]) for path in paths]


def rasterise(path: Path, width: int) -> Image.Image:
    """Draw an SVG file, RGBA, `width` pixels wide."""
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=width)))).convert("RGBA")


@cache
def emoji_table(sources: Sources) -> tuple[dict[str, Any], ...]:
    """The rows of the emoji data set that both vendors draw, in its own order."""
    path = sources.npm("emoji-datasource-google") / "emoji.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    rows.sort(key=lambda row: row["sort_order"])
    return tuple(row for row in rows if row["has_img_google"] and row["has_img_twitter"])


def emoji_name(row: dict[str, Any]) -> str:
    """A short human name, such as "red apple"."""
    return str(row["name"] or row["short_name"]).lower().replace("_", " ")


def emoji_pictures(sources: Sources, row: dict[str, Any]) -> list[Image.Image]:
    """The emoji as both vendors draw it, RGBA."""
    folders = [sources.npm(package) / "img" / vendor / "64" for package, vendor in VENDORS.items()]
    return [Image.open(folder / row["image"]).convert("RGBA") for folder in folders]


def photograph(name: str) -> Image.Image:
    """One photograph of the scikit-image wheel, RGB, by its file name."""
    with resources.as_file(resources.files("skimage") / "data" / name) as path:
        return Image.open(path).convert("RGB")


def _face(path: Path, characters: Sequence[str]) -> list[Bytes] | None:
    """All characters of one face, or None where the face lacks one or draws nothing for it."""
    font = TTCollection(path, lazy=True).fonts[0] if path.suffix.lower() == ".ttc" else TTFont(path, lazy=True)
    if not {ord(character) for character in characters} <= set(font.getBestCmap() or ()):
        return None
    drawer = ImageFont.truetype(str(path), GLYPH_EXTENT)
    masks = [_glyph(drawer, character) for character in characters]
    drawn = [mask for mask in masks if mask is not None]
    return drawn if len(drawn) == len(masks) else None


def _glyph(font: ImageFont.FreeTypeFont, character: str) -> Bytes | None:
    """One character, centred, its longer side GLYPH_EXTENT pixels."""
    canvas = Image.new("L", (3 * GLYPH_SIDE, 3 * GLYPH_SIDE))
    ImageDraw.Draw(canvas).text((GLYPH_SIDE, GLYPH_SIDE), character, font=font, fill=255)
    box = canvas.getbbox()
    if box is None:
        return None
    ink = canvas.crop(box)
    scale = GLYPH_EXTENT / max(ink.size)
    width, height = (max(1, round(side * scale)) for side in ink.size)
    mask = Image.new("L", (GLYPH_SIDE, GLYPH_SIDE))
    corner = ((GLYPH_SIDE - width) // 2, (GLYPH_SIDE - height) // 2)
    mask.paste(ink.resize((width, height), Image.Resampling.BILINEAR), corner)
    return np.asarray(mask)
