"""The preprocessing of images for a tower, as open_clip does it, and the way back to images that people can see."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model
from open_clip.transform import image_transform
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from esm_viz.core.errors import RecipeError

THUMBNAIL = 64  # pixels
Colour = tuple[float, float, float]
MEAN: Colour = (0.48145466, 0.4578275, 0.40821073)  # open_clip's OpenAI mean and standard deviation
STD: Colour = (0.26862954, 0.26130258, 0.27577711)
KEY = "preprocess_cfg"  # key in a recipe's arch, beside open_clip's model config
_INTERPOLATIONS = ("bicubic", "bilinear")
_MOST_RESIZED = 4  # times the side of what is used
_RESIZES = {
    "shortest": "shorter side resized, middle cut out",
    "longest": "longer side resized, the rest filled",
    "squash": "resized to the square whatever the shape",
}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What happens to an image before the tower reads it.

    The EXIF orientation is ignored, as in open_clip.

    Attributes:
        side: width and height in pixels.
        interpolation: "bicubic" or "bilinear".
        resize_mode: "shortest", "longest" or "squash".
        mean, std: values for red, green and blue, for pixels from 0 to 1.
        fill: grey level of the padding for "longest".
        source: where these values come from, for people.
        resized: pixels to which the image is resized before its middle is cut out; 0 for `side`.
    """

    side: int
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    mean: Colour = MEAN
    std: Colour = STD
    fill: int = 0
    source: str = "open_clip’s default"
    resized: int = 0

    @property
    def words(self) -> str:
        """Return a description in words."""
        mean, std = (" ".join(f"{value:.3g}" for value in colour) for colour in (self.mean, self.std))
        more = f" of {self.resized} pixels" if self.resized else ""
        size = f"{self.side} x {self.side} pixels{more}, {self.interpolation}, {_RESIZES[self.resize_mode]}"
        return f"{size}; minus {mean}, over {std} ({self.source})"

    def of(self, image: Image.Image) -> Tensor:
        """Return an image resized and cut to the tower's size, uint8, (3, side, side); `normalise` does the rest."""
        if self.resized or image.size != (self.side, self.side):  # else resizing and cutting would change nothing
            image = _resize(self)(image)
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def preprocessing_of(arch: str, config: Mapping[str, Any] | None, side: int) -> Preprocessing:
    """Return the preprocessing of a tower's images.

    It is `preprocess_cfg` in the recipe's model config, if given; or else the preprocessing of open_clip's pre-trained
    weights for that name, if all of them have the same; or else open_clip's default.

    Args:
        arch: open_clip's name.
        config: the recipe's own model config; None if the recipe gives a name.
        side: the tower's image size in pixels.

    Raises:
        RecipeError: open_clip's preprocessing does not support a value of `preprocess_cfg`.
    """
    if config is not None:
        return _checked(config[KEY], side) if config.get(KEY) is not None else Preprocessing(side)
    configs = [get_pretrained_cfg(arch, tag) for tag in list_pretrained_tags_by_model(arch)]
    said = {_checked(_known(known), side, f"open_clip’s {arch}") for known in configs}
    return said.pop() if len(said) == 1 else Preprocessing(side)


def normalise(pixels: Tensor, how: Preprocessing | None = None) -> Tensor:
    """Return (u8 / 255 − mean) / std, (n, 3, H, W), float32, on the device of the pixels."""
    mean, std = (colour.to(pixels.device) for colour in _colours(how))
    return (pixels.float() / 255 - mean) / std


def to_pixels(images: Tensor, how: Preprocessing | None = None) -> Tensor:
    """Undo `normalise`: uint8, (n, 3, H, W)."""
    mean, std = _colours(how)
    return ((images * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)


def shrunk(images: Tensor, side: int = THUMBNAIL) -> Tensor:
    """Return images, (n, 3, H, W), with sides of at most `side` pixels."""
    if images.shape[-1] <= side:
        return images
    return F.interpolate(images, side, mode="bilinear", antialias=True)


def to_png(images: Tensor, how: Preprocessing | None = None) -> list[bytes]:
    """Return preprocessed images, (n, 3, H, W), as PNG files."""
    files = []
    for pixels in to_pixels(images, how).permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        files.append(buffer.getvalue())
    return files


@functools.lru_cache(maxsize=64)
def _resize(how: Preprocessing) -> Callable[[Image.Image], Image.Image]:
    """Return open_clip's own transform without its last two steps, to a tensor and to normalised colours.

    Where only the middle is used, as timm and transformers do, it is their resizing and torchvision's cut.
    """
    if how.resized:
        sides = how.resized if how.resize_mode == "shortest" else (how.resized, how.resized)
        kind = InterpolationMode.BICUBIC if how.interpolation == "bicubic" else InterpolationMode.BILINEAR
        return Compose([Resize(sides, kind), CenterCrop(how.side)])
    whole = image_transform(
        how.side,
        is_train=False,
        mean=how.mean,
        std=how.std,
        resize_mode=how.resize_mode,
        interpolation=how.interpolation,
        fill_color=how.fill,
    ).transforms
    assert isinstance(whole[-2], ToTensor)
    assert isinstance(whole[-1], Normalize)
    return Compose(whole[:-2])


def _colours(how: Preprocessing | None) -> tuple[Tensor, Tensor]:
    mean, std = (how.mean, how.std) if how else (MEAN, STD)
    return torch.tensor(mean).view(1, 3, 1, 1), torch.tensor(std).view(1, 3, 1, 1)


def _known(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("interpolation", "resize_mode", "mean", "std") if key in config}


def _checked(raw: object, side: int, source: str = "the recipe’s preprocess_cfg") -> Preprocessing:
    where = f"arch: {KEY}"
    if not isinstance(raw, Mapping):
        raise RecipeError(f"{where} is no mapping", "give mean, std, interpolation and resize_mode")
    interpolation = raw.get("interpolation", "bicubic")
    resize_mode = raw.get("resize_mode", "shortest")
    fill = raw.get("fill_color", 0)
    if interpolation not in _INTERPOLATIONS:
        raise RecipeError(f"interpolation is {interpolation!r:.60}", f"give {' or '.join(_INTERPOLATIONS)}", where)
    if not isinstance(resize_mode, str) or resize_mode not in _RESIZES:
        raise RecipeError(f"resize_mode is {resize_mode!r:.60}", f"give {', '.join(_RESIZES)}", where)
    if type(fill) is not int or not 0 <= fill <= 255:
        raise RecipeError(f"fill_color is {fill!r:.60}", "give a whole number from 0 to 255", where)
    size = raw.get("size", side)
    if size not in (side, [side, side], (side, side)):
        raise RecipeError(f"size is {size!r:.60}, the tower reads {side}", "leave it out", where)
    resized = raw.get("resized", 0)
    if type(resized) is not int or (resized and not side <= resized <= _MOST_RESIZED * side):
        raise RecipeError(f"resized is {resized!r:.60}", f"give pixels from {side} to {_MOST_RESIZED * side}", where)
    if resized and resize_mode == "longest":
        raise RecipeError("resized goes with the resize_mode shortest or squash", "leave out one of them", where)
    mean, std = (_colour(raw.get(key, usual), key, where) for key, usual in (("mean", MEAN), ("std", STD)))
    if min(std) <= 0:
        raise RecipeError("std is not above 0", "give three numbers above 0", where)
    return Preprocessing(side, interpolation, resize_mode, mean, std, fill, source, 0 if resized == side else resized)


def _colour(raw: object, key: str, where: str) -> Colour:
    values = list(raw) if isinstance(raw, list | tuple) else [raw] * 3
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(values) != 3 or len(numbers) != 3 or not all(math.isfinite(number) for number in numbers):
        raise RecipeError(f"{key} is {raw!r:.60}", "give three numbers, for red, green and blue", where)
    return numbers[0], numbers[1], numbers[2]
