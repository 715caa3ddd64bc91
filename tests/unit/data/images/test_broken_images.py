"""Broken images: left out up to a limit, named, in no count; above it one sentence refuses. Bombs are never decoded."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image, PngImagePlugin

from esm_viz.core.errors import ImagesError
from esm_viz.data.images.image_decoder import Unreadable, decode
from esm_viz.data.images.image_source import Classes, Preprocessing, draw, drawn, open_images
from tests.support.errors import says
from tests.support.pictures import folder_of, picture, written, zip_of
from tests.support.tiny import SIDE

COUNT = 40  # of which two may be broken


def files(*broken: int) -> dict[str, bytes]:
    """Return an image a number, some of them cut short."""
    return {f"{at % 2}/{at:02}.png": picture(at)[:80] if at in broken else picture(at) for at in range(COUNT)}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_broken_image_is_left_out_counted_and_named(tmp_path: Path, kind: str) -> None:
    path = folder_of(tmp_path / "i", files(6)) if kind == "folder" else zip_of(tmp_path / "i.zip", files(6))
    listed = open_images(path, SIDE, Classes(2))
    place = 3  # of 0/06.png among 0/00, 0/02 …
    assert (listed.usable, listed.told) == (COUNT, "")
    found = listed.read(range(COUNT))
    assert found.kept == tuple(at for at in range(COUNT) if at != place)
    assert torch.equal(found.images[place], listed.load([place + 1])[0])
    assert (listed.usable, listed.broken) == (COUNT - 1, ("0/06.png",))
    assert listed.told == "1 of 40 images cannot be read (0/06.png) and are left out"


def test_reading_again_counts_no_image_twice(tmp_path: Path) -> None:
    listed = open_images(folder_of(tmp_path / "i", files(6)), SIDE)
    listed.read(range(COUNT))
    listed.read([3, 3, 3])
    assert listed.usable == COUNT - 1


def test_more_than_a_twentieth_is_refused_by_name(tmp_path: Path) -> None:
    listed = open_images(folder_of(tmp_path / "i", files(6, 8, 10)), SIDE)
    text = "3 of 40 images cannot be read (0/06.png, 0/08.png, 0/10.png), more than 5 %, i, remove or replace them"
    with says(ImagesError, text):
        listed.read(range(COUNT))


def test_where_every_image_is_needed_a_broken_one_is_refused(tmp_path: Path) -> None:
    listed = open_images(folder_of(tmp_path / "i", files(6)), SIDE)
    with says(ImagesError, "0/06.png is not a readable image, i, remove or replace it"):
        listed.load(range(COUNT))


def test_a_broken_proxy_is_replaced_by_the_next_that_the_seed_draws(tmp_path: Path) -> None:
    whole = open_images(folder_of(tmp_path / "whole", files()), SIDE)
    first, second = draw(COUNT, 8, 0)[2:4]
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0)).tolist()
    torn = open_images(folder_of(tmp_path / "torn", files(*(2 * at for at in (first, second) if at < 20))), SIDE)
    names = torn.pictures
    broken = [at for at in range(COUNT) if len((tmp_path / "torn" / names.named(at)).read_bytes()) == 80]
    assert broken
    wanted = sorted([at for at in order if at not in broken][:8])
    found = drawn(torn, 8, 0)
    assert torch.equal(found, whole.load(wanted))
    assert torch.equal(found, drawn(torn, 8, 0))
    assert torch.equal(drawn(whole, 8, 0), whole.load(draw(COUNT, 8, 0)))


# What would grow too large, or hides something.


def chunk(name: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(side: int, *more: bytes) -> bytes:
    """Return a PNG of a header, some chunks, and no pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("side", "reason"),
    [(9_000, "has 9000 x 9000 pixels"), (11_000, "has 11000 x 11000 pixels"), (60_000, "has too many pixels")],
)
def test_too_many_pixels_are_refused_from_the_header(side: int, reason: str) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(png(side), Preprocessing(SIDE))
    assert caught.value.reason == reason


def test_a_text_that_unpacks_to_much_is_refused() -> None:
    bomb = chunk(b"zTXt", b"note\0\0" + zlib.compress(b"a" * 20_000_000))
    raw = written(Image.new("RGB", (SIDE, SIDE)))
    with pytest.raises(Unreadable):
        decode(raw[:33] + bomb + raw[33:], Preprocessing(SIDE))


def test_an_ordinary_text_in_an_image_does_no_harm() -> None:
    told = PngImagePlugin.PngInfo()
    told.add_text("note", "a" * 1000)
    image = Image.new("RGB", (SIDE, SIDE), (9, 8, 7))
    assert torch.equal(
        decode(written(image, pnginfo=told), Preprocessing(SIDE)), decode(written(image), Preprocessing(SIDE))
    )


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_of_many_frames_only_the_first_is_read(kind: str) -> None:
    frames = [Image.new("RGB", (SIDE, SIDE), (at, 2 * at, 0)) for at in range(1, 60)]
    many = written(frames[0], kind, save_all=True, append_images=frames[1:])
    one = written(frames[0], kind)
    found = decode(many, Preprocessing(SIDE)).int() - decode(one, Preprocessing(SIDE)).int()
    assert found.abs().max() < 0.1  # WEBP's colours are not exact


def test_a_file_in_a_zip_that_grows_too_much_is_refused_unread(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "i.zip", {"a.png": picture(1), "b.png": bytes(3_000_000)}, zipfile.ZIP_DEFLATED)
    with says(ImagesError, "b.png unpacks to more than 200 times its size, i.zip, give ordinary images"):
        open_images(path, SIDE)


def other_kinds() -> Iterator[bytes]:
    """Yield files that Pillow could open, of kinds that are not asked for."""
    for kind in ("EPS", "PDF", "PCX", "ICO"):
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32)).save(buffer, kind)
        yield buffer.getvalue()


def test_another_kind_under_an_images_name_is_not_opened() -> None:
    for raw in other_kinds():
        with pytest.raises(Unreadable):
            decode(raw, Preprocessing(SIDE))


def test_what_a_file_manager_left_there_is_no_image_and_no_class(tmp_path: Path) -> None:
    junk = ["._a.png", ".DS_Store", "Thumbs.db", "__MACOSX/0/._a.png", "__MACOSX/0/b.png", ".cache/0/c.png", "0/.d.png"]
    held = {"0/a.png": picture(1), "1/b.png": picture(2), **dict.fromkeys(junk, b"junk")}
    for listed in (
        open_images(folder_of(tmp_path / "i", held), SIDE, Classes(2)),
        open_images(zip_of(tmp_path / "i.zip", held), SIDE, Classes(2)),
        open_images(
            zip_of(tmp_path / "o.zip", {f"around/{name}": raw for name, raw in held.items()}), SIDE, Classes(2)
        ),
    ):
        assert (listed.count, listed.labels.tolist()) == (2, [0, 1])
