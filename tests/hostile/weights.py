"""Spoiled `.safetensors`: cut, flipped, with absurd headers, of other shapes, with numbers that are none."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file

from tests.hostile.bench import HEAD, LABELLED, PROXIES, WEIGHTS, Case, named_by_digest, replace, tensors_of
from tests.support import tiny

NAMES = tuple(tiny.base_weights())
ESCAPES = {
    "colour": "\x1b[31mred",
    "title": "\x1b]0;owned\x07",
    "c1 control": "\x9b2Jcleared",
    "right to left": "\u202egnp.exe",
    "new line": "one\nerror: two",
    "carriage return": "seen\rhidden",
    "line separator": "one\u2028two",
    "nothing": "a\x00b",
    "delete": "a\x7f\x7f",
}


def head_and_body(data: bytes) -> tuple[bytes, bytes]:
    """Return a file's JSON and what follows it."""
    (length,) = struct.unpack("<Q", data[:8])
    return data[8 : 8 + length], data[8 + length :]


def packed(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    """Return a file of any header, which may lie about its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def cut() -> Iterator[Case]:
    """Yield files cut at many places."""
    size = len(save(tiny.base_weights()))
    for at in (0, 1, 4, 7, 8, 9, 10, 100, 1000, 2000, *(size * share // 12 for share in range(1, 12)), size - 1):
        yield Case(f"cut after {at} bytes", lambda folder, at=at: _edit(folder, lambda data: data[:at]))
    for more in (1, 8, 4096):
        yield Case(f"{more} bytes too many", lambda folder, more=more: _edit(folder, lambda data: data + b"\0" * more))


def flipped() -> Iterator[Case]:
    """Yield files with one bit flipped, named by the digest they had before; the header is hit more often."""
    draw = random.Random(5)
    size = len(save(tiny.base_weights()))
    start = size - len(head_and_body(save(tiny.base_weights()))[1])
    places = [
        *range(9),
        *(draw.randrange(9, start) for _ in range(36)),
        *(draw.randrange(start, size) for _ in range(24)),
    ]
    for at in places:
        bit = draw.randrange(8)

        def spoil(folder: Path, at: int = at, bit: int = bit) -> None:
            named_by_digest(folder)
            _edit(folder, lambda data: data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])

        yield Case(f"bit {bit} of byte {at} flipped", spoil)


def _edit(folder: Path, edit: Callable[[bytes], bytes], name: str = WEIGHTS) -> None:
    replace(folder, name, edit((folder / name).read_bytes()))


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS: dict[str, bytes] = {
    "length 2^63": packed({"a": ONE}, bytes(8), 1 << 63),
    "length 2^64 - 1": packed({"a": ONE}, bytes(8), (1 << 64) - 1),
    "length of more than the file": packed({"a": ONE}, bytes(8), 1000),
    "length 0": packed(b""),
    "not JSON": packed(b"hello there"),
    "a list": packed([]),
    "a word": packed("a"),
    "a number": packed(7),
    "null": packed(None),
    "not UTF-8": packed(b'{"\xff": 1}'),
    "deep JSON": packed(b"[" * 100_000 + b"]" * 100_000),
    "deep metadata": packed(b'{"__metadata__":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001),
    "metadata of numbers": packed({"__metadata__": {"a": 1}, "a": ONE}, bytes(8)),
    "metadata that is a list": packed({"__metadata__": ["a"], "a": ONE}, bytes(8)),
    "the same name twice": packed(b'{"a":%s,"a":%s}' % ((json.dumps(ONE).encode(),) * 2), bytes(8)),
    "overlapping tensors": packed({"a": ONE, "b": ONE}, bytes(8)),
    "partly overlapping tensors": packed({"a": ONE, "b": {**ONE, "data_offsets": [4, 12]}}, bytes(12)),
    "a hole between tensors": packed({"a": ONE, "b": {**ONE, "data_offsets": [16, 24]}}, bytes(24)),
    "offsets the wrong way": packed({"a": {**ONE, "data_offsets": [8, 0]}}, bytes(8)),
    "negative offsets": packed({"a": {**ONE, "data_offsets": [-8, 0]}}, bytes(8)),
    "fractions as offsets": packed({"a": {**ONE, "data_offsets": [0.0, 8.5]}}, bytes(8)),
    "words as offsets": packed({"a": {**ONE, "data_offsets": ["0", "8"]}}, bytes(8)),
    "three offsets": packed({"a": {**ONE, "data_offsets": [0, 4, 8]}}, bytes(8)),
    "offsets of 2^64": packed({"a": {**ONE, "data_offsets": [0, 1 << 64]}}, bytes(8)),
    "offsets past the end": packed({"a": {**ONE, "data_offsets": [0, 800], "shape": [200]}}, bytes(8)),
    "a negative shape": packed({"a": {**ONE, "shape": [-2]}}, bytes(8)),
    "a shape of 2^62": packed({"a": {**ONE, "shape": [1 << 62]}}, bytes(8)),
    "a shape whose size overflows": packed({"a": {**ONE, "shape": [1 << 32, 1 << 32]}}, bytes(8)),
    "a shape that wraps to 2": packed({"a": {**ONE, "shape": [(1 << 63) + 1, 2]}}, bytes(8)),
    "a shape of 1000 sides": packed({"a": {**ONE, "shape": [1] * 999 + [2]}}, bytes(8)),
    "a shape of fractions": packed({"a": {**ONE, "shape": [2.5]}}, bytes(8)),
    "a shape that is a word": packed({"a": {**ONE, "shape": "2"}}, bytes(8)),
    "no shape": packed({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8)),
    "no dtype": packed({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "no offsets": packed({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "an unknown dtype": packed({"a": {**ONE, "dtype": "F1024"}}, bytes(8)),
    "a dtype of another size": packed({"a": {**ONE, "dtype": "F64"}}, bytes(8)),
    "a dtype that is a number": packed({"a": {**ONE, "dtype": 32}}, bytes(8)),
    "a tensor that is null": packed({"a": None}),
    "unknown keys": packed({"a": {**ONE, "eval": "1"}}, bytes(8)),
    "no tensors": packed({}),
    "metadata alone": packed({"__metadata__": {"format": "pt"}}),
    "20,000 empty tensors": packed(
        {f"t{at}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for at in range(20_000)}
    ),
    "a name of a million letters": packed({"a" * 1_000_000: ONE}, bytes(8)),
    "an empty name": packed({"": ONE}, bytes(8)),
    "a name of a path": packed({"../../etc/passwd": ONE}, bytes(8)),
    **{f"a tensor's name: {kind}": packed({f"visual.{name}": ONE}, bytes(8)) for kind, name in ESCAPES.items()},
}


def headers() -> Iterator[Case]:
    """Yield files with absurd headers, as an expert."""
    for name, data in HEADERS.items():
        yield Case(f"header: {name}", lambda folder, data=data: replace(folder, WEIGHTS, data))
    yield Case("header: 100 MB of nothing", _sparse_header)


def _sparse_header(folder: Path) -> None:
    """Write a header of 100 MB that takes no room on disk."""
    replace(folder, WEIGHTS, struct.pack("<Q", 100_000_000))
    os.truncate(folder / WEIGHTS, 100_000_008)


def shapes() -> Iterator[Case]:
    """Yield experts that lack one tensor of a block, or have one of another shape, for every tensor of the tower.

    What an expert does not bring outside the blocks is the base's, see tests/unit/inspection/test_opened_files.py.
    """
    for name in NAMES:
        if "resblocks" in name:
            yield Case(f"{name} is missing", lambda folder, name=name: _change(folder, lambda held: held.pop(name)))
        yield Case(
            f"{name} has one side more",
            lambda folder, name=name: _change(folder, lambda held: held.update({name: held[name][None].clone()})),
        )
    for dtype in (torch.int64, torch.uint8, torch.bool, torch.int8, torch.float8_e4m3fn, torch.complex64):
        yield Case(
            f"numbers as {dtype}",
            lambda folder, dtype=dtype: _change(
                folder, lambda held: held.update({name: tensor.to(dtype) for name, tensor in held.items()})
            ),
        )
    for name in (NAMES[0], NAMES[5], NAMES[-1]):
        yield Case(
            f"{name} is empty",
            lambda folder, name=name: _change(folder, lambda held: held.update({name: held[name][:0].clone()})),
        )
        yield Case(
            f"{name} is repeated",
            lambda folder, name=name: _change(
                folder, lambda held: held.update({name: torch.cat([held[name], held[name]])})
            ),
        )


def not_finite() -> Iterator[Case]:
    """Yield experts with one number that is none, in every tensor in turn."""
    kinds = {"NaN": torch.nan, "Inf": torch.inf, "minus Inf": -torch.inf}
    for at, name in enumerate(NAMES):
        kind = list(kinds)[at % 3]

        def put(held: dict[str, Any], name: str = name, kind: str = kind) -> None:
            held[name].view(-1)[-1] = kinds[kind]

        yield Case(f"{kind} in {name}", lambda folder, put=put: _change(folder, put))


def _change(folder: Path, change: Callable[[dict[str, Any]], object], file: str = WEIGHTS) -> None:
    held = tensors_of(folder, file)
    change(held)
    (folder / file).unlink()
    save_file(held, folder / file)


JUNK: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\0",
    "text": b"hello there, I am no file of weights",
    "HTML": b"<!doctype html><title>404</title>" * 50,
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "noise": random.Random(3).randbytes(5000),
    "a shell script": b"#!/bin/sh\ntouch canary\n",
    "a program": b"\x7fELF" + bytes(200),
    "absurd": HEADERS["length 2^63"],
}


def beside() -> Iterator[Case]:
    """Yield junk in the place of base, head, proxies and labelled images."""
    for file in ("base.safetensors", HEAD, PROXIES, LABELLED):
        for kind, data in JUNK.items():
            yield Case(f"{file}: {kind}", lambda folder, file=file, data=data: replace(folder, file, data))
        yield Case(f"{file}: cut", lambda folder, file=file: _edit(folder, lambda whole: whole[:-5], file))
    odd: dict[str, Callable[[dict[str, Any]], object]] = {
        "a head of no rows": lambda held: held.update(weight=held["weight"][:0].clone()),
        "a head of another width": lambda held: held.update(weight=held["weight"][:, :3].clone()),
        "a head of three sides": lambda held: held.update(weight=held["weight"][None].clone()),
        "a head with a stranger": lambda held: held.update(other=held["weight"].clone()),
        "a head of whole numbers": lambda held: held.update(weight=torch.full((0, 0), 1)),
        "a bias of another length": lambda held: held.update(bias=torch.zeros(9)),
    }
    for name, change in odd.items():
        yield Case(name, lambda folder, change=change: _change(folder, change, HEAD))
    images: dict[str, Callable[[dict[str, Any]], object]] = {
        "images of another size": lambda held: held.update(images=torch.zeros(4, 3, 7, 7)),
        "no images": lambda held: held.update(images=held["images"][:0].clone()),
        "images of fractions of a byte": lambda held: held.update(images=held["images"].half()),
        "images of four sides too many": lambda held: held.update(images=held["images"][None, None].clone()),
        "labels of another number": lambda held: held.update(labels=held["labels"][:3].clone()),
        "labels past the head": lambda held: held.update(labels=held["labels"] + 1000),
        "labels of 2^62": lambda held: held.update(labels=held["labels"] + (1 << 62)),
        "negative labels": lambda held: held.update(labels=held["labels"] - 9),
        "labels of fractions": lambda held: held.update(labels=held["labels"].float()),
        "labels missing": lambda held: held.pop("labels"),
    }
    for name, change in images.items():
        yield Case(f"labelled images: {name}", lambda folder, change=change: _change(folder, change, LABELLED))
    for kind, text in CLASSES.items():
        yield Case(f"class names: {kind}", lambda folder, text=text: _named_classes(folder, text))


def poisoned() -> Iterator[Case]:
    """Yield numbers that are none in base, head, proxies and labelled images."""
    for at, value in enumerate((torch.nan, torch.inf)):
        for file, name in ((HEAD, "weight"), (PROXIES, "images"), (LABELLED, "images"), ("base.safetensors", NAMES[3])):
            yield Case(
                f"{file}: {name} holds {value}",
                lambda folder, file=file, name=name, at=at: _change(folder, lambda held: _poison(held[name], at), file),
            )


CLASSES = {
    "not JSON": "ants, bees",
    "a mapping": '{"a": 1}',
    "numbers": "[1, 2, 3, 4]",
    "deep": "[" * 100_000 + "]" * 100_000,
    "too few": '["a"]',
    "half a character": '["\\ud800", "b", "c", "d"]',
    **{f"{kind}": json.dumps([name, "b", "c", "d"]) for kind, name in ESCAPES.items()},
}


def _named_classes(folder: Path, text: str) -> None:
    held = tensors_of(folder, HEAD)
    (folder / HEAD).unlink()
    save_file(held, folder / HEAD, {"classes": text})


def _poison(tensor: torch.Tensor, at: int) -> None:
    tensor.view(-1)[at] = (torch.nan, torch.inf)[at]


def special() -> Iterator[Case]:
    """Yield what is no plain file where one should be: opening some of these would wait for ever."""
    for file in (WEIGHTS, "base.safetensors", HEAD, PROXIES, LABELLED, "recipe.yaml"):
        for kind, make in SPECIAL.items():
            yield Case(f"{file} is {kind}", lambda folder, file=file, make=make: _put(folder / file, make))


def _put(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "not there": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a loop of links": lambda path: path.symlink_to(path),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to a pipe": lambda path: (os.mkfifo(path.with_name("pipe")), path.symlink_to("pipe")),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
}
