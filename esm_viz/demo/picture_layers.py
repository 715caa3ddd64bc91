"""One picture of 32 x 32: artwork seen from a random side, laid over a background. Arrays are (32, 32, 3), 0..255."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from esm_viz.demo.labelled_pictures import Bytes

SIDE = 32
Floats = NDArray[np.float32]
Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class View:
    """How far a random view may stray from the artwork as it was drawn."""

    degrees: float = 12.0  # rotation to either side
    size: tuple[float, float] = (0.75, 1.0)  # longer side, as a share of the picture
    shift: float = 3.0  # pixels to either side
    stretch: float = 0.12  # of each axis, and shear


def seen(art: Image.Image | Bytes, view: View, rng: Random) -> NDArray[np.uint8]:
    """Artwork under a random affine map, drawn at twice the size and averaged down: (32, 32) or (32, 32, 4)."""
    picture = Image.fromarray(art) if isinstance(art, np.ndarray) else art
    angle = np.deg2rad(rng.uniform(-view.degrees, view.degrees))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, rng.uniform(-view.stretch, view.stretch)], [0.0, 1.0]])
    zoom = np.diag(rng.uniform(1 - view.stretch, 1 + view.stretch, 2))
    zoom *= rng.uniform(*view.size) * 2 * SIDE / max(picture.size)
    back = np.linalg.inv(turn @ shear @ zoom)  # Pillow asks for the map from the picture to the artwork
    middle = SIDE + 2 * rng.uniform(-view.shift, view.shift, 2)
    offset = np.array(picture.size) / 2 - back @ middle
    numbers = (*back[0], offset[0], *back[1], offset[1])
    large = picture.transform((2 * SIDE, 2 * SIDE), Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR)
    return np.asarray(large.resize((SIDE, SIDE), Image.Resampling.BOX))


def laid_over(background: Floats, rgba: NDArray[np.uint8]) -> Floats:
    """A picture with alpha over a background."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return (background * (1 - alpha) + rgba[..., :3] * alpha).astype(np.float32)


def painted(background: Floats, mask: NDArray[np.uint8], colour: NDArray[np.floating]) -> Floats:
    """One colour through a mask over a background."""
    alpha = mask[..., None].astype(np.float32) / 255
    return (background * (1 - alpha) + colour * alpha).astype(np.float32)


def plain(colour: NDArray[np.floating]) -> Floats:
    """A background of one colour."""
    return np.broadcast_to(np.asarray(colour, dtype=np.float32), (SIDE, SIDE, 3)).copy()


def crop(photo: Image.Image, rng: Random, region: tuple[float, float], sides: tuple[int, int]) -> Floats:
    """A random square of a photograph, taken from the columns between two shares of its width."""
    left, right = (round(share * photo.width) for share in region)
    side = round(rng.uniform(sides[0], min(sides[1], right - left, photo.height)))
    x = left + int(rng.integers(right - left - side + 1))
    y = int(rng.integers(photo.height - side + 1))
    square = photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side), reducing_gap=2.0)
    return np.asarray(square, dtype=np.float32)


def contrasting(background: Floats, rng: Random, least: float = 70.0) -> NDArray[np.float64]:
    """A random colour whose brightness differs from the background's; after many misses, black or white."""
    weights = np.array([0.299, 0.587, 0.114])
    level = float(background.mean((0, 1)) @ weights)
    for _ in range(50):
        colour = rng.uniform(0, 255, 3)
        if abs(float(colour @ weights) - level) > least:
            return colour
    return np.full(3, 255.0 if level < 128 else 0.0)


def exposed(picture: Floats, rng: Random, contrast: tuple[float, float], brightness: float) -> Floats:
    """The picture under another light: contrast about its mean, and brightness up to the given step either way."""
    mean = picture.mean()
    return (
        (picture - mean) * np.float32(rng.uniform(*contrast)) + mean + np.float32(rng.uniform(-brightness, brightness))
    )


def finished(picture: Floats, rng: Random, blur: float = 0.0, noise: float = 0.0) -> Bytes:
    """Blur up to `blur` pixels and grain up to `noise` levels, then rounding to bytes."""
    grain = rng.normal(0, rng.uniform(0, noise), picture.shape) if noise else 0.0
    image = Image.fromarray(np.clip(picture + grain, 0, 255).round().astype(np.uint8))
    radius = rng.uniform(0, blur)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)) if radius > 0.2 else image)
