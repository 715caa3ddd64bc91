"""Image sets: folder, zip and packed, labels, draws, and what every refusal says."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import image_transform
from PIL import Image
from safetensors.torch import save_file

from esm_viz.core.errors import ImagesError
from esm_viz.data.images import image_folder as module
from esm_viz.data.images.image_decoder import Unreadable, decode
from esm_viz.data.images.image_source import (
    MEAN,
    STD,
    Classes,
    Preprocessing,
    draw,
    evenly_spaced,
    normalise,
    open_images,
    to_pixels,
)
from tests.support.errors import says
from tests.support.pictures import folder_of, picture, zip_of
from tests.support.tiny import SIDE, images


def pixels_of(raw: bytes) -> torch.Tensor:
    with Image.open(io.BytesIO(raw)) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None]


FILES = {"b.png": picture(1), "a.png": picture(2), "sub/c.png": picture(3)}
LABELLED = {f"{name}/{at}.png": picture(at) for at, name in enumerate(["dog", "cat", "dog", "ant"])}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_images_come_in_the_order_of_their_names(tmp_path: Path, kind: str) -> None:
    path = folder_of(tmp_path / "i", FILES) if kind == "folder" else zip_of(tmp_path / "i.zip", FILES)
    found = open_images(path, SIDE)
    assert (found.count, found.labels) == (3, None)
    truth = torch.cat([normalise(pixels_of(FILES[name])) for name in ("a.png", "b.png", "sub/c.png")])
    assert torch.equal(found.load([0, 1, 2]), truth)


def test_only_what_is_asked_for_is_decoded(tmp_path: Path) -> None:
    found = open_images(folder_of(tmp_path / "i", {"a.png": b"broken", "b.png": picture(1)}), SIDE)
    assert found.load([1]).shape == (1, 3, SIDE, SIDE)


@pytest.mark.parametrize("size", [(40, 24), (SIDE, 40), (9, 9), (SIDE, SIDE)])
def test_images_of_another_size_go_through_open_clips_own_transform(tmp_path: Path, size: tuple[int, int]) -> None:
    raw = picture(1, size)
    found = open_images(folder_of(tmp_path / "i", {"a.png": raw}), SIDE).load([0])
    truth = image_transform(SIDE, is_train=False, mean=MEAN, std=STD)(Image.open(io.BytesIO(raw)))[None]
    assert (found - truth).abs().max() < 1e-6  # float32 divisions in another order


def test_files_that_are_no_images_are_left_out(tmp_path: Path) -> None:
    files = {"a.png": picture(1), "notes.txt": b"x", ".hidden.png": b"x", "__MACOSX/._a.png": b"x"}
    assert open_images(folder_of(tmp_path / "i", files), SIDE).count == 1
    assert open_images(zip_of(tmp_path / "i.zip", files), SIDE).count == 1


def test_packed_floats_are_taken_as_they_are(tmp_path: Path) -> None:
    stored = images(3, 1)
    save_file({"images": stored}, tmp_path / "i.safetensors")
    assert torch.equal(open_images(tmp_path / "i.safetensors", SIDE).load([2, 0]), stored[[2, 0]])


def test_packed_pixels_are_normalised(tmp_path: Path) -> None:
    stored = to_pixels(images(3, 1))
    save_file({"images": stored}, tmp_path / "i.safetensors")
    truth = (stored.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert (open_images(tmp_path / "i.safetensors", SIDE).load([0, 1, 2]) - truth).abs().max() < 1e-6  # float32


def test_pixels_survive_normalising_and_back() -> None:
    stored = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(to_pixels(normalise(stored)), stored)


# Labels.


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_labels_follow_the_heads_class_names(tmp_path: Path, kind: str) -> None:
    path = folder_of(tmp_path / "i", LABELLED) if kind == "folder" else zip_of(tmp_path / "i.zip", LABELLED)
    found = open_images(path, SIDE, Classes(4, ("zebra", "dog", "cat", "ant")))
    assert found.labels.tolist() == [3, 2, 1, 1]  # ant/3, cat/1, dog/0, dog/2
    assert found.labels.dtype == torch.int64


def test_without_class_names_folders_count_in_sorted_order(tmp_path: Path) -> None:
    assert open_images(folder_of(tmp_path, LABELLED), SIDE, Classes(3)).labels.tolist() == [0, 1, 2, 2]


def test_folders_that_the_head_does_not_name_are_refused_whatever_their_number(tmp_path: Path) -> None:
    text = "the folder 'ant' is none of the head's classes (x, y, z …), i, name class folders as the head does"
    with says(ImagesError, text):
        open_images(folder_of(tmp_path / "i", LABELLED), SIDE, Classes(3, ("x", "y", "z")))


def test_a_missing_class_folder_does_not_shift_the_others(tmp_path: Path) -> None:
    text = (
        "there are 3 class folders for a head of 4 rows, i, "
        "give every class a folder, or name the classes in the head's metadata"
    )
    with says(ImagesError, text):
        open_images(folder_of(tmp_path / "i", LABELLED), SIDE, Classes(4))


def test_labelled_images_need_class_folders(tmp_path: Path) -> None:
    with says(ImagesError, "a.png is in no class folder, i, make one subfolder a class"):
        open_images(folder_of(tmp_path / "i", {**LABELLED, "a.png": picture(9)}), SIDE, Classes(3))


def test_packed_labels_come_along(tmp_path: Path) -> None:
    save_file({"images": images(3, 1), "labels": torch.tensor([2, 0, 1])}, tmp_path / "i.safetensors")
    assert open_images(tmp_path / "i.safetensors", SIDE, Classes(3)).labels.tolist() == [2, 0, 1]


def test_packed_labels_may_be_of_any_whole_type(tmp_path: Path) -> None:
    labels = torch.tensor([2, 0, 1], dtype=torch.uint8)
    save_file({"images": images(3, 1), "labels": labels}, tmp_path / "i.safetensors")
    found = open_images(tmp_path / "i.safetensors", SIDE, Classes(3)).labels
    assert found is not None
    assert (found.dtype, found.tolist()) == (torch.int64, [2, 0, 1])


PACKED = {
    "no images": ({"x": images(2, 1)}, "the file has no tensor `images`, i.safetensors, save images as (n, 3, H, W)"),
    "another size": (
        {"images": torch.zeros(2, 3, 8, 8)},
        "images are (2, 3, 8, 8), i.safetensors, give (n, 3, 16, 16) with n >= 1",
    ),
    "no image at all": (
        {"images": torch.zeros(0, 3, SIDE, SIDE)},
        "images are (0, 3, 16, 16), i.safetensors, give (n, 3, 16, 16) with n >= 1",
    ),
    "channels last": (
        {"images": torch.zeros(2, SIDE, SIDE, 3)},
        "images are (2, 16, 16, 3), i.safetensors, give (n, 3, 16, 16) with n >= 1",
    ),
    "half floats": (
        {"images": images(2, 1).half()},
        "images are F16, i.safetensors, give float32 (preprocessed) or uint8 pixels",
    ),
    "no labels": (
        {"images": images(2, 1)},
        "the file has no tensor `labels`, i.safetensors, save labels as int64 (n,)",
    ),
    "labels of another number": (
        {"images": images(2, 1), "labels": torch.zeros(3, dtype=torch.int64)},
        "labels are torch.int64 (3,), i.safetensors, give whole numbers from 0, (2,)",
    ),
    "labels of another type": (
        {"images": images(2, 1), "labels": torch.zeros(2)},
        "labels are torch.float32 (2,), i.safetensors, give whole numbers, as int64",
    ),
    "labels that are true or false": (
        {"images": images(2, 1), "labels": torch.tensor([True, False])},
        "labels are torch.bool (2,), i.safetensors, give whole numbers, 0 for False and 1 for True",
    ),
    "labels below zero": (
        {"images": images(2, 1), "labels": torch.tensor([0, -1])},
        "labels are torch.int64 (2,), i.safetensors, give whole numbers from 0, (2,)",
    ),
}


@pytest.mark.parametrize("case", PACKED)
def test_packed_images_are_refused_for(tmp_path: Path, case: str) -> None:
    tensors, text = PACKED[case]
    save_file(tensors, tmp_path / "i.safetensors")
    with says(ImagesError, text):
        open_images(tmp_path / "i.safetensors", SIDE, Classes(3))


# What cannot be read.


def test_nothing_there_is_told_without_its_folders(tmp_path: Path) -> None:
    with says(ImagesError, "there are no such images, no, check the path in the recipe"):
        open_images(tmp_path / "no", SIDE)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    with says(
        ImagesError, "images are neither folder, .zip, .parquet, .npz nor .safetensors, a.png, give one of these"
    ):
        open_images(tmp_path / "a.png", SIDE)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_no_images_are_refused(tmp_path: Path, kind: str) -> None:
    files = {"notes.txt": b"x"}
    path = (
        folder_of(tmp_path / "i", files)
        if kind == "folder"
        else zip_of(tmp_path / "i", files).rename(tmp_path / "i.zip")
    )
    with says(ImagesError, f"there are no images, {path.name}, give .png, .jpg, .webp or .tif files"):
        open_images(path, SIDE)


def test_a_zip_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "i.zip").write_bytes(b"PK garbage")
    with says(ImagesError, "the zip cannot be read, i.zip, make it again"):
        open_images(tmp_path / "i.zip", SIDE)


def test_packed_garbage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "i.safetensors").write_bytes(b"garbage")
    with says(ImagesError, "the images cannot be read, i.safetensors, give a .safetensors file"):
        open_images(tmp_path / "i.safetensors", SIDE)


def test_a_broken_image_is_told_by_its_name(tmp_path: Path) -> None:
    found = open_images(folder_of(tmp_path / "i", {"a.png": picture(1), "b.png": picture(2)[:100]}), SIDE)
    with says(ImagesError, "b.png is not a readable image, i, remove or replace it"):
        found.load([0, 1])


def test_an_image_that_vanished_is_told(tmp_path: Path) -> None:
    found = open_images(folder_of(tmp_path / "i", {"a.png": picture(1)}), SIDE)
    (tmp_path / "i" / "a.png").unlink()
    with says(ImagesError, "an image cannot be read, i, check that the files are still there and whole"):
        found.load([0])


def test_a_packed_file_that_vanished_is_told(tmp_path: Path) -> None:
    save_file({"images": images(2, 1)}, tmp_path / "i.safetensors")
    found = open_images(tmp_path / "i.safetensors", SIDE)
    (tmp_path / "i.safetensors").unlink()
    text = "an image cannot be read, i.safetensors, check that the files are still there and whole"
    with says(ImagesError, text):
        found.load([0])


def test_a_zip_with_a_wrong_checksum_is_told(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "i.zip", {"a.png": picture(1)})
    raw = bytearray(path.read_bytes())
    raw[200] ^= 255
    path.write_bytes(bytes(raw))
    found = open_images(path, SIDE)
    with says(ImagesError, "a.png is not a readable image, i.zip, remove or replace it"):
        found.load([0])


def test_a_zip_with_a_password_is_told(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "i.zip", {"a.png": picture(1)})
    raw = bytearray(path.read_bytes())
    raw[6] |= 1  # the flag that says encrypted, in the file's own header and in the directory
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(raw))
    found = open_images(path, SIDE)
    with says(ImagesError, "an image cannot be read, i.zip, check that the files are still there and whole"):
        found.load([0])


def test_a_zip_that_names_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 50)
    with says(ImagesError, "a.png is larger than 50 bytes, i.zip, give ordinary images"):
        open_images(zip_of(tmp_path / "i.zip", {"a.png": picture(1)}), SIDE)


def test_an_image_of_too_many_pixels_is_refused_undecoded(tmp_path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    # A header of 9000 x 9000 pixels without any behind it: decoding would fail in another way.
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0))
    raw = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    found = open_images(folder_of(tmp_path / "i", {"a.png": raw}), SIDE)
    with says(ImagesError, "a.png has 9000 x 9000 pixels, i, give smaller images"):
        found.load([0])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_packed_numbers_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    stored = images(2, 1)
    stored[1, 0, 3, 3] = bad
    save_file({"images": stored}, tmp_path / "i.safetensors")
    with says(ImagesError, "images hold NaN or Inf, i.safetensors, preprocess them again"):
        open_images(tmp_path / "i.safetensors", SIDE).load([0, 1])


WHOLE = {kind: picture(1, (SIDE, SIDE), kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA")}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own, about files that it can still read
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # likewise, before we refuse
@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=60)
@given(cut=st.integers(0, 400), place=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_damaged_image_is_decoded_or_refused_and_nothing_else(kind: str, cut: int, place: int, byte: int) -> None:
    raw = bytearray(WHOLE[kind])
    raw[place % len(raw)] = byte
    try:
        found = decode(bytes(raw[: len(raw) - cut % len(raw)]), Preprocessing(SIDE), f"a.{kind}")
    except Unreadable:
        return
    assert found.shape == (3, SIDE, SIDE)


# Which images are taken.


def test_few_proxies_are_all_taken_whatever_the_seed() -> None:
    assert draw(32, 32, 0) == draw(32, 32, 5) == list(range(32))


def test_of_many_proxies_the_seed_decides() -> None:
    first, again, other = draw(100, 32, 0), draw(100, 32, 0), draw(100, 32, 1)
    assert first == again != other
    assert first == sorted(set(first))
    assert len(first) == 32
    assert set(first) <= set(range(100))


def test_a_subset_is_spread_over_the_whole_set() -> None:
    assert evenly_spaced(10, 4) == [0, 2, 5, 7]
    assert evenly_spaced(10, 0) == evenly_spaced(10, 10) == evenly_spaced(10, 99) == list(range(10))


def test_decoded_images_are_kept_as_pixels_and_normalised_where_they_are_used(tmp_path: Path) -> None:
    listed = open_images(folder_of(tmp_path / "i", {f"{at}.png": picture(at) for at in range(3)}), SIDE)
    found = listed.read(range(3))
    assert (found.stored.dtype, tuple(found.stored.shape)) == (torch.uint8, (3, 3, SIDE, SIDE))
    assert torch.equal(found.images, normalise(found.stored, listed.how))
    there = found.on("meta")
    assert (there.device.type, there.dtype, there.shape) == ("meta", torch.float32, found.images.shape)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_images_are_decoded_on_all_cores_and_come_in_order(
    tmp_path: Path, kind: str, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{at}.png": picture(at) for at in range(6)}
    path = folder_of(tmp_path / "i", files) if kind == "folder" else zip_of(tmp_path / "i.zip", files)
    truth = open_images(path, SIDE).load(range(6))
    both = threading.Barrier(2, timeout=20)

    def together(raw: bytes, how: Preprocessing, name: str) -> torch.Tensor:
        both.wait()
        return decode(raw, how, name)

    monkeypatch.setattr(module, "decode", together)
    assert torch.equal(open_images(path, SIDE).load(range(6)), truth)


@pytest.mark.parametrize("ending", ["zip", "parquet", "npz", "safetensors"])
def test_a_git_lfs_pointer_in_place_of_images_is_told(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"a.{ending}").write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")
    with pytest.raises(ImagesError, match="a Git LFS pointer instead of the file it stands for, no images"):
        open_images(tmp_path / f"a.{ending}", 16)
