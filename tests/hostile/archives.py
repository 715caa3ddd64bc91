"""Zips that climb, lie and grow, as images of a task and as a whole upload."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.bench import WEIGHTS, Case, change_recipe
from tests.hostile.pickles import in_zip, zip_of
from tests.hostile.weights import ESCAPES, JUNK
from tests.support.tiny import SIDE

CLIMBING = (
    *("../x.png", "../../x.png", "a/../../x.png", "/etc/x.png", "//x.png", "C:\\x.png", "C:/x.png", "..\\x.png"),
    *("\\\\server\\share\\x.png", "a\\..\\..\\x.png", "a:b.png", "./../x.png"),
)
LINK = 0o120777 << 16


def picture(shade: int = 7, side: int = SIDE) -> bytes:
    """Return a whole PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), shade, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def packed(entries: list[tuple[str | zipfile.ZipInfo, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip of entries whatever they are named, twice the same too."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


def patched(
    data: bytes, *, size: int | None = None, crc: bytes | None = None, flags: int = 0, method: int = -1
) -> bytes:
    """Return a zip of one entry whose two headers say something else."""
    raw = bytearray(data)
    central = raw.index(b"PK\1\2")
    for start, at_flags, at_method, at_crc, at_size in ((0, 6, 8, 14, 22), (central, 8, 10, 16, 24)):
        if size is not None:
            raw[start + at_size : start + at_size + 4] = struct.pack("<I", size)
        if crc is not None:
            raw[start + at_crc : start + at_crc + 4] = crc
        if method >= 0:
            raw[start + at_method : start + at_method + 2] = struct.pack("<H", method)
        raw[start + at_flags] |= flags
    return bytes(raw)


def lying(payload: bytes, says: int, compression: int) -> bytes:
    """Return a zip of an image that says to be small, and with a checksum that fits what it says."""
    data = packed([("a/x.png", payload)], compression)
    return patched(data, size=says, crc=struct.pack("<I", zlib.crc32(payload[:says])))


def linked(name: str, target: str) -> zipfile.ZipInfo:
    """Return an entry that is a symbolic link."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = LINK
    return entry


def overlapping() -> bytes:
    """Return a zip of which two names have one entry, that says to be as large as the file allows."""
    data = packed([("a/x.png", JUNK["noise"]), ("a/y.png", JUNK["noise"])])
    raw = bytearray(data)
    first = raw.index(b"PK\1\2")
    second = raw.index(b"PK\1\2", first + 4)
    raw[second + 42 : second + 46] = raw[first + 42 : first + 46]
    return bytes(raw)


NOTHING = bytes(48 << 20)
"""What bombs grow to."""
BOMBS: dict[str, Callable[[], bytes]] = {
    "48 MB of nothing": lambda: packed([("a/x.png", NOTHING)]),
    "48 MB that says 1000 bytes": lambda: lying(NOTHING, 1000, zipfile.ZIP_DEFLATED),
    "48 MB by bzip2 that says 1000 bytes": lambda: lying(NOTHING, 1000, zipfile.ZIP_BZIP2),
    "48 MB by lzma that says 1000 bytes": lambda: lying(NOTHING, 1000, zipfile.ZIP_LZMA),
    "48 MB by bzip2": lambda: packed([("a/x.png", NOTHING)], zipfile.ZIP_BZIP2),
    "48 MB by lzma": lambda: packed([("a/x.png", NOTHING)], zipfile.ZIP_LZMA),
}
DAMAGED: dict[str, Callable[[], bytes]] = {
    "an entry that says 4 GB": lambda: patched(packed([("a/x.png", picture())]), size=0xFFFFFFF0),
    "an entry that says nothing": lambda: patched(packed([("a/x.png", picture())]), size=0),
    "a wrong checksum": lambda: patched(packed([("a/x.png", picture())]), crc=b"abcd"),
    "a password": lambda: patched(packed([("a/x.png", picture())]), flags=1),
    "strong encryption": lambda: patched(packed([("a/x.png", picture())]), flags=0x41),
    "an unknown compression": lambda: patched(packed([("a/x.png", picture())]), method=77),
    "deflate64": lambda: patched(packed([("a/x.png", picture())]), method=9),
    "half of it": lambda: packed([("a/x.png", picture())])[:70],
    "its end alone": lambda: packed([("a/x.png", picture())])[-22:],
    "an end that says 65,535 entries": lambda: packed([("a/x.png", picture())])[:-12] + b"\xff" * 12,
    "nothing in it": lambda: packed([]),
    "no images in it": lambda: packed([("a.txt", b"hello")]),
    "a folder named as an image": lambda: packed([("x.png/", b"")]),
    "an image of junk": lambda: packed([("a/x.png", JUNK["noise"])]),
    "an image of nothing": lambda: packed([("a/x.png", b"")]),
    "a zip in it": lambda: packed([("x.png", packed([("y.png", picture())]))]),
    "a hidden image": lambda: packed([("a/.x.png", picture())]),
    "a pickle in it": lambda: in_zip(b"N."),
    "overlapping entries": overlapping,
    "an empty file": lambda: b"",
    "four letters": lambda: b"PK\3\4",
}


def _as_images(folder: Path, data: bytes, key: str = "proxies", suffix: str = ".zip") -> None:
    name = f"images{suffix}"
    (folder / name).write_bytes(data)
    change_recipe(folder, lambda raw: raw["models"][0].update({key: name}))


def damaged() -> Iterator[Case]:
    """Yield zips of images that cannot be read, as proxies and as labelled images."""
    for name, make in DAMAGED.items():
        data = make()
        for key in ("proxies", "validation"):
            yield Case(f"{key} zip: {name}", lambda folder, data=data, key=key: _as_images(folder, data, key))
    many = packed([(f"a/{at}.txt", b"") for at in range(30_000)])
    yield Case("a zip of 30,000 texts", lambda folder: _as_images(folder, many))


def bombs() -> Iterator[Case]:
    """Yield zips that would fill the memory."""
    for name, make in BOMBS.items():
        data = make()
        yield Case(f"bomb: {name}", lambda folder, data=data: _as_images(folder, data))


def climbing() -> Iterator[Case]:
    """Yield uploads of one zip that would write elsewhere."""
    for name in CLIMBING:
        yield _as_upload(f"a zip names {name}", [(name, picture())])
    for target in ("/etc/passwd", "../../..", WEIGHTS, "/dev/zero"):
        entry = linked("proxies.png", target)
        yield _as_upload(f"a zip has a link to {target}", [(entry, target.encode())])
    for name in (WEIGHTS, "recipe.yaml"):
        entry = linked(name, "/etc/passwd")
        yield _as_upload(f"a zip has {name} as a link", [(entry, b"/etc/passwd")], without=name)
    for name, make in BOMBS.items():
        if "says" in name or "by" in name:
            yield Case(f"an upload of {name}", lambda folder, make=make: _alone(folder, make()))
    for name, make in DAMAGED.items():
        if name not in ("no images in it", "a hidden image"):
            yield Case(f"an upload of a zip: {name}", lambda folder, make=make: _alone(folder, make()))
    yield _as_upload("a file as a folder", [("a.json", b"{}"), ("a.json/x.png", picture())])
    yield _as_upload("a name of 300 letters", [("a" * 300 + ".png", picture())])
    yield _as_upload("100 folders", [("a/" * 2500 + "x.png", picture())])
    for name, data in (("recipe.yaml", b"a: 1"), ("recipe.yaml", b"\0"), ("recipe.yaml", b"[" * 100_000)):
        yield _as_upload(f"a zip's {name} is {data[:9]!r}", [(name, data)], without=name)


def _as_upload(name: str, more: list[tuple[str | zipfile.ZipInfo, bytes]], without: str = "") -> Case:
    """Return the whole project in a zip, with something more in it."""

    def spoil(folder: Path) -> None:
        files = [(path.name, path.read_bytes()) for path in sorted(folder.iterdir()) if path.name != without]
        _alone(folder, packed([*files, *more], zipfile.ZIP_STORED))

    return Case(name, spoil)


def _alone(folder: Path, data: bytes) -> None:
    """Leave one zip in a folder."""
    for path in folder.iterdir():
        path.unlink()
    (folder / "project.zip").write_bytes(data)


def pictures() -> dict[str, bytes]:
    """Return image files that are damaged, or much larger than they look."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")

    def saved(kind: str) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(1).integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(buffer, kind)
        return buffer.getvalue()

    rows = zlib.compress(bytes((1 + 3 * SIDE) * SIDE))
    grown = zlib.compress(bytes(80 << 20), 9)
    whole = {kind: saved(kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")}
    return {
        "PNG of 10^5 x 10^5": png(100_000, 100_000, chunk(b"IDAT", rows)),
        "PNG of 9,000 x 9,500": png(9_000, 9_500, chunk(b"IDAT", rows)),
        "PNG of 2^31 - 1 a side": png((1 << 31) - 1, (1 << 31) - 1, chunk(b"IDAT", rows)),
        "PNG of no width": png(0, SIDE, chunk(b"IDAT", rows)),
        "PNG with a profile of 80 MB": png(SIDE, SIDE, chunk(b"iCCP", b"x\0\0" + grown), chunk(b"IDAT", rows)),
        "PNG with a text of 80 MB": png(SIDE, SIDE, chunk(b"zTXt", b"x\0\0" + grown), chunk(b"IDAT", rows)),
        "PNG with texts of 80 MB": png(SIDE, SIDE, *[chunk(b"zTXt", b"x\0\0" + grown)] * 20, chunk(b"IDAT", rows)),
        "PNG without pixels": png(SIDE, SIDE),
        "PNG of junk pixels": png(SIDE, SIDE, chunk(b"IDAT", b"hello")),
        "PNG of an odd depth": png(SIDE, SIDE, chunk(b"IDAT", rows), depth=3),
        "PNG of an odd colour": png(SIDE, SIDE, chunk(b"IDAT", rows), colour=9),
        "GIF of 65,535 a side": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;",
        "BMP of 2^31 a side": b"BM" + struct.pack("<IHHIIiiHH", 60, 0, 0, 54, 40, 1 << 30, 1 << 30, 1, 24) + bytes(24),
        "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "an EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch canary) system\n",
        "a PDF": b"%PDF-1.4\n",
        "HTML": JUNK["HTML"],
        "a pickle": b"\x80\x04N.",
        "empty": b"",
        **{f"{kind} cut in half": data[: len(data) // 2] for kind, data in whole.items() if kind not in ("JPEG",)},
        **{f"{kind} of its first 12 bytes": data[:12] for kind, data in whole.items()},
        **{f"{kind} with its middle gone": data[:8] + data[len(data) // 2 :] for kind, data in whole.items()},
    }


def images() -> Iterator[Case]:
    """Yield one bad image, alone in a folder, and as an image of a class in a zip."""
    for name, data in pictures().items():
        yield Case(f"folder: {name}", lambda folder, data=data: _in_folder(folder, data))
        yield Case(f"zip: {name}", lambda folder, data=data: _as_images(folder, zip_of({"c/x.png": data})))
    for kind, name in ESCAPES.items():
        if "\0" not in name and "/" not in name:
            yield Case(f"a bad image named with {kind}", lambda f, name=name: _in_folder(f, b"x", f"{name}.png"))


def _in_folder(folder: Path, data: bytes, name: str = "x.png") -> None:
    (folder / "pictures").mkdir()
    (folder / "pictures" / name).write_bytes(data)
    change_recipe(folder, lambda raw: raw["models"][0].update(proxies="pictures"))


def places() -> Iterator[Case]:
    """Yield folders of images in which no image is a plain file."""
    import os

    def spoil(folder: Path, make: Callable[[Path], object], key: str) -> None:
        (folder / "pictures" / "ant").mkdir(parents=True)
        make(folder / "pictures" / "ant" / "x.png")
        change_recipe(folder, lambda raw: raw["models"][0].update({key: "pictures"}))

    kinds: dict[str, Callable[[Path], object]] = {
        "a pipe": os.mkfifo,
        "a folder": lambda path: path.mkdir(),
        "a loop of links": lambda path: path.symlink_to(path),
        "a link to its folder": lambda path: path.symlink_to(".."),
        "a link to nothing": lambda path: path.symlink_to("nowhere"),
        "a link to a device": lambda path: path.symlink_to("/dev/zero"),
        "nothing": lambda path: None,
    }
    for kind, make in kinds.items():
        for key in ("proxies", "validation"):
            yield Case(f"{key}: a folder of {kind}", lambda f, make=make, key=key: spoil(f, make, key))
