"""What a tower reads is what open_clip's own preprocessing makes of the same file, and it can be said in words."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import open_clip
import pytest
import timm.data
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from esm_viz.core.errors import RecipeError
from esm_viz.data.images.image_decoder import decode
from esm_viz.data.images.image_source import Preprocessing, normalise, preprocessing_of, to_pixels
from tests.support.errors import says
from tests.support.pictures import written
from tests.support.tiny import CONFIG, SIDE


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 255, shape, dtype=np.uint8)


def prepared(raw: bytes, how: Preprocessing) -> torch.Tensor:
    """Return what a tower reads of a file, (3, side, side), float32."""
    return normalise(decode(raw, how)[None], how)[0]


def turned() -> bytes:
    """Return a photograph that says it is to be turned, which open_clip does not do."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return written(Image.fromarray(noise(20, 40, 3)), "JPEG", exif=exif)


def kinds(size: tuple[int, int]) -> dict[str, bytes]:
    """Return files of every kind but 16-bit grey, which open_clip turns white (`test_image_decoder`)."""
    height, width = size[1], size[0]
    colour = Image.fromarray(noise(height, width, 3))
    clear = colour.convert("RGBA")
    clear.putalpha(Image.fromarray(noise(height, width)))
    return {
        "8 bit grey": written(colour.convert("L")),
        "black and white": written(colour.convert("1")),
        "grey with alpha": written(clear.convert("LA")),
        "palette": written(colour.convert("P", palette=Image.Palette.ADAPTIVE)),
        "colour with alpha": written(clear),
        "CMYK": written(colour.convert("CMYK"), "JPEG"),
        "palette GIF": written(colour, "GIF"),
    }


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own, about transparency in a palette
@pytest.mark.parametrize("size", [(SIDE, SIDE), (40, 24)])
@pytest.mark.parametrize("kind", kinds((8, 8)))
def test_every_kind_of_image_becomes_what_open_clip_makes_of_it(kind: str, size: tuple[int, int]) -> None:
    raw = kinds(size)[kind]
    with Image.open(io.BytesIO(raw)) as image:
        truth = image_transform_v2(PreprocessCfg(SIDE), is_train=False)(image)
    assert (prepared(raw, Preprocessing(SIDE)) - truth).abs().max() < 1e-6  # float32 divisions in another order


def test_a_photograph_is_not_turned() -> None:
    raw = turned()
    with Image.open(io.BytesIO(raw)) as image:
        truth = image_transform_v2(PreprocessCfg(SIDE), is_train=False)(image)
    assert torch.equal(prepared(raw, Preprocessing(SIDE)), truth)


SAID = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "longest"}


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_a_recipes_own_preprocessing_is_open_clips_too(mode: str) -> None:
    said = {**SAID, "resize_mode": mode, "fill_color": 99}
    how = preprocessing_of("{}", {**CONFIG, "preprocess_cfg": said}, SIDE)
    raw = written(Image.fromarray(noise(24, 40, 3)))
    with Image.open(io.BytesIO(raw)) as image:
        truth = image_transform_v2(PreprocessCfg(size=SIDE, **said), is_train=False)(image)
    assert torch.equal(prepared(raw, how), truth)


def test_pixels_come_back_whatever_the_mean() -> None:
    how = preprocessing_of("{}", {**CONFIG, "preprocess_cfg": SAID}, SIDE)
    pixels = noise(SIDE, SIDE, 3)
    found = prepared(written(Image.fromarray(pixels)), how)
    assert torch.equal(to_pixels(found[None], how)[0], torch.from_numpy(pixels).permute(2, 0, 1))


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        (
            "ViT-B-32-quickgelu",
            (
                "224 x 224 pixels, bicubic, shorter side resized, middle cut out; "
                "minus 0.481 0.458 0.408, over 0.269 0.261 0.276 (open_clip’s ViT-B-32-quickgelu)"
            ),
        ),
        (  # two of its weights want other colours
            "ViT-L-14",
            (
                "224 x 224 pixels, bicubic, shorter side resized, middle cut out; "
                "minus 0.481 0.458 0.408, over 0.269 0.261 0.276 (open_clip’s default)"
            ),
        ),
        (
            "ViT-H-14-CLIPA",
            (
                "224 x 224 pixels, bilinear, resized to the square whatever the shape; "
                "minus 0.485 0.456 0.406, over 0.229 0.224 0.225 (open_clip’s ViT-H-14-CLIPA)"
            ),
        ),
    ],
)
def test_open_clips_names_have_their_own_preprocessing_in_words(arch: str, words: str) -> None:
    assert arch in open_clip.list_models()
    assert preprocessing_of(arch, None, 224).words == words


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (3, "arch: preprocess_cfg is no mapping, give mean, std, interpolation and resize_mode"),
        ({"mean": [0.5, 0.5]}, "mean is [0.5, 0.5], arch: preprocess_cfg, give three numbers, for red, green and blue"),
        (
            {"mean": [0.5, 0.5, True]},
            "mean is [0.5, 0.5, True], arch: preprocess_cfg, give three numbers, for red, green and blue",
        ),
        ({"std": [0.5, 0.5, 0]}, "std is not above 0, arch: preprocess_cfg, give three numbers above 0"),
        ({"mean": float("nan")}, "mean is nan, arch: preprocess_cfg, give three numbers, for red, green and blue"),
        ({"interpolation": "random"}, "interpolation is 'random', arch: preprocess_cfg, give bicubic or bilinear"),
        ({"resize_mode": ["x"]}, "resize_mode is ['x'], arch: preprocess_cfg, give shortest, longest, squash"),
        ({"fill_color": 300}, "fill_color is 300, arch: preprocess_cfg, give a whole number from 0 to 255"),
        ({"size": 224}, "size is 224, the tower reads 16, arch: preprocess_cfg, leave it out"),
    ],
)
def test_what_open_clips_preprocessing_does_not_have_is_refused(said: object, text: str) -> None:
    with says(RecipeError, text):
        preprocessing_of("{}", {**CONFIG, "preprocess_cfg": said}, SIDE)


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("size", [(50, 40), (24, 90)])
def test_images_that_are_resized_and_cut_are_those_of_timm(size: tuple[int, int], mode: str) -> None:
    config = {"input_size": (3, 24, 24), "crop_pct": 0.8, "crop_mode": mode, "interpolation": "bicubic"}
    theirs = timm.data.create_transform(**config, mean=(0.5,) * 3, std=(0.25,) * 3)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (*size, 3), dtype=np.uint8))
    said = {"mean": [0.5] * 3, "std": [0.25] * 3, "resized": 30}
    how = preprocessing_of("", {"preprocess_cfg": {**said, "resize_mode": {"center": "shortest"}.get(mode, mode)}}, 24)
    assert torch.allclose(normalise(how.of(image)[None], how)[0], theirs(image), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"resized": 23}, "resized is 23, arch: preprocess_cfg, give pixels from 24 to 96"),
        ({"resized": "30"}, "resized is '30', arch: preprocess_cfg, give pixels from 24 to 96"),
        (
            {"resized": 30, "resize_mode": "longest"},
            "resized goes with the resize_mode shortest or squash, arch: preprocess_cfg, leave out one of them",
        ),
    ],
)
def test_an_impossible_size_before_the_cut_is_refused(changes: dict[str, Any], text: str) -> None:
    with says(RecipeError, text):
        preprocessing_of("", {"preprocess_cfg": changes}, 24)
