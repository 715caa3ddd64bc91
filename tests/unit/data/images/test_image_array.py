"""Arrays in an `.npz`: any size of image, streamed, and nothing in them is ever run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from esm_viz.core.errors import ImagesError
from esm_viz.data.images.image_source import Classes, open_images
from esm_viz.data.random_access_stream import RandomAccessStream
from tests.support.errors import says
from tests.support.pictures import folder_of, written
from tests.support.tiny import SIDE

PIXELS = np.random.default_rng(3).integers(0, 256, (9, 20, 24, 3), dtype=np.uint8)
LABELS = np.arange(9, dtype=np.uint8) % 3


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", ["channels last", "channels first", "grey"])
def test_images_of_an_array_come_as_the_same_files_from_a_folder(tmp_path: Path, save: Any, kind: str) -> None:
    pixels = PIXELS[..., 0] if kind == "grey" else PIXELS
    stored = np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2)) if kind == "channels first" else pixels
    save(tmp_path / "i.npz", x=stored, y=LABELS)
    found = open_images(tmp_path / "i.npz", SIDE, Classes(3))
    files = {f"{at}.png": written(Image.fromarray(image)) for at, image in enumerate(pixels)}
    truth = open_images(folder_of(tmp_path / "i", files), SIDE)
    assert (found.count, found.labels.tolist(), found.labels.dtype) == (9, LABELS.tolist(), torch.int64)
    for some in (range(9), [2, 5, 8], [8, 0, 4, 4]):
        assert torch.equal(found.load(some), truth.load(some))


def test_a_pass_in_chunks_unpacks_the_array_once() -> None:
    begun: list[int] = []

    def begin(start: int) -> Any:
        begun.append(start)
        yield from range((0, 10)[start], 20)

    items = RandomAccessStream(20, (0, 10), begin)
    assert [items.get(index) for chunk in ([0, 3], [4, 9], [10, 19]) for index in chunk] == [0, 3, 4, 9, 10, 19]
    assert begun == [0]
    assert [items.get(5), items.get(15), items.get(12)] == [5, 15, 12]
    assert begun == [0, 0, 1, 1]


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in members.items():
            archive.writestr(f"{name}.npy", raw)
    return path


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def claims(shape: str, dtype: str = "|u1") -> bytes:
    """Return an array's header that claims a shape, with ten bytes behind it."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(10)


class Payload:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


OK = npy(PIXELS)
WRONG: dict[str, tuple[dict[str, bytes], str]] = {
    "no images": (
        {"pictures": OK},
        "the file has no array `images`, i.npz, save images as (n, H, W), (n, H, W, 3) or (n, 3, H, W)",
    ),
    "no labels": ({"images": OK}, "the file has no array `labels`, i.npz, save labels as whole numbers (9,)"),
    "another type": (
        {"images": npy(PIXELS.astype(np.float32)), "labels": npy(LABELS)},
        "images are float32, i.npz, give uint8 pixels",
    ),
    "another shape": (
        {"images": npy(PIXELS[..., :2]), "labels": npy(LABELS)},
        "images are (9, 20, 24, 2), i.npz, give (n, H, W), (n, H, W, 3) or (n, 3, H, W) with n >= 1",
    ),
    "no image at all": (
        {"images": npy(PIXELS[:0]), "labels": npy(LABELS[:0])},
        "images are (0, 20, 24, 3), i.npz, give (n, H, W), (n, H, W, 3) or (n, 3, H, W) with n >= 1",
    ),
    "an absurd side": (
        {"images": claims("(2, 99999, 99999, 3)")},
        "images are (2, 99999, 99999, 3), i.npz, give smaller or fewer images",
    ),
    "an absurd number": (
        {"images": claims("(99999999999999, 2, 2, 3)")},
        "images are (99999999999999, 2, 2, 3), i.npz, give smaller or fewer images",
    ),
    "more than is there": (
        {"images": claims("(4, 2, 2, 3)")},
        "images are (4, 2, 2, 3) by their header and of another size, i.npz, save the .npz again",
    ),
    "objects": (
        {"images": npy(np.array([Payload()], dtype=object))},
        "`images` holds Python objects, i.npz, save plain numbers, which can be read safely",
    ),
    "columns first": (
        {"images": npy(np.asfortranarray(PIXELS))},
        "`images` is stored column by column, i.npz, save numpy.ascontiguousarray of it",
    ),
    "labels of another number": (
        {"images": OK, "labels": npy(LABELS[:4])},
        "labels are uint8 (4,), i.npz, give whole numbers (9,)",
    ),
    "labels that are no numbers": (
        {"images": OK, "labels": npy(np.array(["a"] * 9))},
        "labels are <U1 (9,), i.npz, give whole numbers, for each word the row of the head",
    ),
    "labels below zero": (
        {"images": OK, "labels": npy(np.full(9, -1))},
        "labels go below 0, i.npz, give whole numbers from 0",
    ),
    "a header that is code": (
        {"images": claims("__import__('os')")},
        "the images cannot be read, i.npz, save the .npz again",
    ),
    "no array": ({"images": b"hello"}, "the images cannot be read, i.npz, save the .npz again"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_npz_is_refused_for(tmp_path: Path, case: str) -> None:
    members, text = WRONG[case]
    with says(ImagesError, text):
        open_images(npz(tmp_path / "i.npz", **members), SIDE, Classes(3))


def test_an_npz_that_is_no_zip_or_vanished_is_told(tmp_path: Path) -> None:
    (tmp_path / "i.npz").write_bytes(b"\x93NUMPY")
    with says(ImagesError, "the images cannot be read, i.npz, save the .npz again"):
        open_images(tmp_path / "i.npz", SIDE)
    listed = open_images(npz(tmp_path / "j.npz", images=OK), SIDE)
    (tmp_path / "j.npz").unlink()
    with says(ImagesError, "an image cannot be read, j.npz, check that the files are still there and whole"):
        listed.load([0])
