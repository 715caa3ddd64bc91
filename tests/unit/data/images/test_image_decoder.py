"""Which image files are read, how deep grey levels are shown, and what is refused instead of being left out."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from esm_viz.core.errors import ImagesError
from esm_viz.data.images import image_decoder
from esm_viz.data.images.image_decoder import Unreadable, decode, is_readable
from esm_viz.data.images.image_source import Classes, Preprocessing, open_images, to_pixels
from tests.support.errors import says
from tests.support.pictures import folder_of, picture, written, zip_of
from tests.support.tiny import SIDE

HOW = Preprocessing(SIDE)
GREY = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE)  # every level of 8 bits once


def shown(raw: bytes, name: str = "") -> np.ndarray:
    """Return the pixels that a decoded file shows."""
    pixels = decode(raw, HOW, name)
    assert torch.equal(pixels[0], pixels[1])
    return pixels[0].numpy()


# Grey levels deeper than 8 bits: Pillow's own conversion makes 16 bits white and floats black.

DEEP = GREY.astype(np.uint16) * 257
UNIT = GREY.astype(np.float32) / 255


@pytest.mark.parametrize(
    "raw",
    [
        written(Image.fromarray(DEEP)),
        written(Image.fromarray(DEEP), "TIFF"),
        written(Image.fromarray(DEEP), "PPM"),
        written(Image.fromarray(UNIT), "TIFF"),
        written(Image.fromarray(UNIT), "PPM"),
    ],
    ids=["16-bit PNG", "16-bit TIFF", "16-bit PGM", "float TIFF", "PFM"],
)
def test_deep_grey_levels_are_shown_as_those_of_8_bits(raw: bytes) -> None:
    assert np.array_equal(shown(raw), shown(written(Image.fromarray(GREY))))
    assert np.array_equal(shown(raw), GREY)


def test_big_endian_and_white_is_zero_are_read_as_the_file_says() -> None:
    big = Image.frombytes("I;16B", (SIDE, SIDE), DEEP.astype(">u2").tobytes())
    assert np.array_equal(shown(written(big, "TIFF")), GREY)
    turned = written(Image.fromarray(DEEP), "TIFF", tiffinfo={262: 0})
    assert np.array_equal(shown(turned), 255 - GREY)


def test_deep_grey_levels_are_resized_like_those_of_8_bits() -> None:
    large = np.kron(DEEP, np.ones((3, 3), np.uint16))
    small = np.kron(GREY, np.ones((3, 3), np.uint8))
    assert np.array_equal(shown(written(Image.fromarray(large))), shown(written(Image.fromarray(small))))


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        (UNIT * 255, "has grey levels outside 0 to 1 as floats"),
        (UNIT - 0.5, "has grey levels outside 0 to 1 as floats"),
        (np.where(UNIT == 0, np.float32("nan"), UNIT), "has grey levels outside 0 to 1 as floats"),
        (GREY.astype(np.int32) * 300, "has grey levels of 32 bits, whose white nothing defines"),
    ],
)
def test_levels_without_a_known_white_are_refused(levels: np.ndarray, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(written(Image.fromarray(levels), "TIFF"), HOW)
    assert (caught.value.reason, caught.value.remedy) == (reason, "save it with 8 or 16 bits")


# Formats.

FILES = [
    *[("PPM", suffix) for suffix in (".ppm", ".PPM")],
    *[("JPEG", suffix) for suffix in (".jfif", ".jpe", ".JPG")],
    ("TGA", ".tga"),
    ("JPEG2000", ".jp2"),
    ("AVIF", ".avif"),
    ("HEIF", ".heic"),
]


@pytest.mark.parametrize(("kind", "suffix"), FILES)
@pytest.mark.parametrize("packed", ["folder", "zip"])
def test_images_of_these_kinds_are_read(tmp_path: Path, kind: str, suffix: str, packed: str) -> None:
    if not features.check({"JPEG2000": "jpg_2000", "AVIF": "avif"}.get(kind, "pil")):
        pytest.skip("this Pillow was built without the library")
    if kind == "HEIF" and not is_readable("a.heic"):
        pytest.skip("pillow-heif is not installed")
    image = Image.fromarray(np.dstack([GREY, GREY.T, GREY]))
    raw = written(image, kind)
    files = {f"cat/a{suffix}": raw, "dog/b.png": picture(1)}
    path = folder_of(tmp_path / "i", files) if packed == "folder" else zip_of(tmp_path / "i.zip", files)
    found = open_images(path, SIDE, Classes(2))
    assert found.count == 2  # it was left out of a mixed set without a word
    with Image.open(io.BytesIO(raw)) as reopened:
        truth = torch.from_numpy(np.array(reopened.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(to_pixels(found.load([0]))[0], truth)


def test_only_a_file_of_that_name_is_tried_as_a_tga() -> None:
    raw = written(Image.fromarray(GREY), "TGA")
    assert np.array_equal(shown(raw, "cat/a.TGA"), GREY)
    with pytest.raises(Unreadable):  # a TGA has no mark at its start: any bytes might be one
        decode(raw, HOW, "a.png")


@pytest.mark.parametrize("packed", ["folder", "zip"])
@pytest.mark.parametrize("labelled", [False, True])
def test_images_of_a_kind_that_is_not_read_are_told_and_never_left_out(
    tmp_path: Path, packed: str, labelled: bool
) -> None:
    files = {"cat/a.png": picture(1), "dog/b.png": picture(2), "dog/c.DNG": b"II*"}
    make = {"folder": lambda: folder_of(tmp_path / "i", files), "zip": lambda: zip_of(tmp_path / "i", files)}
    path = make[packed]() if packed == "folder" else make[packed]().rename(tmp_path / "i.zip")
    with says(
        ImagesError,
        f"dog/c.DNG is of a kind that is not read here, {path.name}, convert to PNG, or remove",
    ):
        open_images(path, SIDE, Classes(2) if labelled else None)


def test_a_kind_is_not_read_where_pillow_was_built_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_decoder, "_readable", lambda: ("PNG", "JPEG"))
    files = {"a.png": picture(1), "b.avif": b"", "c.heic": b""}
    remedy = "install a Pillow that was built with AVIF, or convert to PNG"
    with says(ImagesError, f"b.avif and 1 other images are of a kind that is not read here, i, {remedy}"):
        open_images(folder_of(tmp_path / "i", files), SIDE)
    del files["b.avif"]
    remedy = "install pillow-heif, or convert to PNG"
    with says(ImagesError, f"c.heic is of a kind that is not read here, j, {remedy}"):
        open_images(folder_of(tmp_path / "j", files), SIDE)
