"""Pickles that would run something, or grow without end, written opcode by opcode so that making them runs nothing."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.hostile.bench import CANARY, WEIGHTS, Case, change_recipe, tensors_of

COMMAND = f"touch {CANARY}"
MAGIC = 0x1950A86A20F9469CFC6C  # what torch's old format begins with


def word(text: str) -> bytes:
    """Return the opcode that pushes a text."""
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def proto(version: int) -> bytes:
    """Return the opcode that names the protocol; 0 and 1 have none."""
    return b"\x80" + bytes([version]) if version >= 2 else b""


SYSTEM = b"cposix\nsystem\n"
OBJECT = b"c__builtin__\nobject\n"
ARGUMENT = word(COMMAND)
BODIES: dict[str, bytes] = {
    "GLOBAL and REDUCE": proto(2) + SYSTEM + b"(" + ARGUMENT + b"tR.",
    "STACK_GLOBAL and REDUCE": proto(4) + word("posix") + word("system") + b"\x93" + ARGUMENT + b"\x85R.",
    "INST": b"(" + ARGUMENT + b"iposix\nsystem\n.",
    "OBJ": b"(" + SYSTEM + ARGUMENT + b"o.",
    "NEWOBJ": proto(2) + b"csubprocess\nPopen\n" + ARGUMENT + b"\x85\x81.",
    "NEWOBJ_EX": proto(4) + b"csubprocess\nPopen\n" + ARGUMENT + b"\x85}\x92.",
    "BUILD with a state": proto(2)
    + b"cargparse\nNamespace\n)\x81}"
    + word("__setstate__")
    + SYSTEM
    + b"sb"
    + ARGUMENT
    + b"b.",
    "eval": proto(2) + b"c__builtin__\neval\n" + word(f"__import__('os').system('{COMMAND}')") + b"\x85R.",
    "exec": proto(2) + b"cbuiltins\nexec\n" + word(f"import os; os.system('{COMMAND}')") + b"\x85R.",
    "a module imported": proto(2) + b"cimportlib\nimport_module\n" + word("antigravity") + b"\x85R.",
    "getattr of torch": proto(2) + b"cbuiltins\ngetattr\n" + b"ctorch\nload\n" + word("__globals__") + b"\x86R.",
    "getattr of a stand-in, called": proto(2)
    + b"cbuiltins\ngetattr\ncthing\nThing\n"
    + word("system")
    + b"\x86R"
    + ARGUMENT
    + b"\x85R.",
    "getattr of a function": proto(2)
    + b"c__builtin__\ngetattr\nctorch._utils\n_rebuild_tensor\n"
    + word("__globals__")
    + b"\x86R.",
    "getattr of a text": proto(2) + b"cbuiltins\ngetattr\n" + word("{0.__class__}") + word("format") + b"\x86R.",
    "getattr of getattr": proto(2) + 2 * b"cbuiltins\ngetattr\n" + word("__self__") + b"\x86R.",
    "getattr of a module": proto(2)
    + b"cbuiltins\ngetattr\n"
    + b"cthing\nos\n"
    + word("system")
    + b"\x86R"
    + ARGUMENT
    + b"\x85\x81.",
    "getattr with a default": proto(2) + b"cbuiltins\ngetattr\ncthing\nThing\n" + word("a") + SYSTEM + b"\x87R.",
    "items of a stand-in": proto(2) + b"cthing\nThing\n)\x81" + word("__class__") + SYSTEM + b"s.",
    "torch's own loader": proto(2) + b"ctorch.hub\nload\n" + word("someone/else") + word("x") + b"\x86R.",
    "torch compiles": proto(2) + b"ctorch\ncompile\n" + ARGUMENT + b"\x85R.",
    "runpy": proto(2) + b"crunpy\nrun_path\n" + word("/etc/passwd") + b"\x85R.",
    "a dotted name": proto(4) + word("os") + word("path.os.system") + b"\x93" + ARGUMENT + b"\x85R.",
    "EXT1": proto(2) + b"\x82\x01.",
    "PERSID": b"P" + COMMAND.encode() + b"\n.",
    "BINPERSID": ARGUMENT + b"Q.",
    "a billion letters": proto(2) + b"c_operator\nmul\n" + word("x") + b"J" + struct.pack("<i", 10**9) + b"\x86R.",
    "a bytearray of a billion": proto(2) + b"c__builtin__\nbytearray\n" + b"J" + struct.pack("<i", 10**9) + b"\x85R.",
    "LONG4 of 2 GB": proto(2) + b"\x8b" + struct.pack("<i", (1 << 31) - 1) + b"\1.",
    "LONG4 of less than nothing": proto(2) + b"\x8b" + struct.pack("<i", -1) + b".",
    "BINUNICODE8 of 2^62": proto(4) + b"\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
    "BINBYTES8 of 2^62": proto(4) + b"\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
    "BYTEARRAY8 of 2^62": proto(5) + b"\x96" + struct.pack("<Q", 1 << 62) + b"x.",
    "FRAME of 2^62": proto(4) + b"\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "a memo at 2^32": proto(2) + b"Nr" + struct.pack("<I", (1 << 32) - 1) + b".",
    "a memo that is read first": proto(2) + b"h\x07.",
    "a number of 100,000 digits": b"L" + b"9" * 100_000 + b"L\n.",
    "lists in lists": proto(2) + b"]" * 100_000 + b"a" * 99_999 + b".",
    "tuples in tuples": proto(2) + b")" + b"\x85" * 100_000 + b".",
    "marks alone": proto(2) + b"(" * 100_000 + b".",
    "a list that holds itself": proto(2) + b"]q\0h\0a.",
    "a list doubled 40 times": proto(2) + b"]" + b"2\x86" * 40 + b".",
    "a mapping of lists as keys": proto(2) + b"}]Ns.",
    "an empty stack": proto(2) + b".",
    "STOP missing": proto(2) + b"N",
    "an unknown opcode": proto(2) + b"\xff.",
    "a list instead of weights": proto(2) + b"]N" + b"a.",
    "a number instead of weights": proto(2) + b"K\x07.",
    "None": b"N.",
    "protocol 99": b"\x80\x63N.",
    "Latin letters as bytes": proto(3) + b"C\x03abc.",
    "out of band": proto(5) + b"\x97.",
    "a mapping of code": proto(2) + b"}" + word("conv1.weight") + SYSTEM + b"(" + ARGUMENT + b"tRs.",
}


class Payload:
    """What `pickle.dumps` of it would run when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (COMMAND,)


def bodies() -> dict[str, bytes]:
    """Return all of them, and one that Python itself wrote in every protocol."""
    own = {f"written in protocol {version}": pickle.dumps(Payload(), version) for version in range(6)}
    return {**BODIES, **own}


def in_zip(body: bytes, root: str = "archive", compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a file of torch's format: a zip with a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(f"{root}/data.pkl", body)
        archive.writestr(f"{root}/version", "3\n")
        archive.writestr(f"{root}/byteorder", "little")
        archive.writestr(f"{root}/data/0", bytes(64))
    return buffer.getvalue()


def in_old_format(body: bytes) -> bytes:
    """Return a file of torch's format before zips: several pickles in a row."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    return b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, system)) + body + pickle.dumps([], 2)


WRAPPERS = {"bare": bytes, "zip": in_zip, "old": in_old_format}
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")


def place(folder: Path, suffix: str, data: bytes) -> None:
    """Put a file of weights of this kind in the expert's place."""
    name = Path(WEIGHTS).with_suffix(suffix).name
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(data)
    change_recipe(folder, lambda raw: raw["models"][0].update(path=name))


def cases() -> Iterator[Case]:
    """Yield every pickle in every wrapping, as an expert; and every one as a head."""
    for at, (name, body) in enumerate(bodies().items()):
        for step, (kind, wrap) in enumerate(WRAPPERS.items()):
            suffix, data = SUFFIXES[(at + step) % 4], wrap(body)
            yield Case(f"pickle, {kind} {suffix}: {name}", lambda f, s=suffix, d=data: place(f, s, d))
    for name, data in torch_zips().items():
        yield Case(f"torch's zip: {name}", lambda f, d=data: place(f, ".pt", d))
    for name, body in bodies().items():
        yield Case(f"a head of pickle: {name}", lambda f, b=body: _head(f, in_zip(b)))


def _head(folder: Path, data: bytes) -> None:
    (folder / "head_ants.pt").write_bytes(data)
    change_recipe(folder, lambda raw: raw["models"][0].update(head="head_ants.pt"))


def torch_zips() -> dict[str, bytes]:
    """Return zips that lie about what torch's format has in them."""
    storage = b"ctorch\nFloatStorage\n"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"

    def tensor(key: str, count: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
        persistent = b"(" + word("storage") + storage + word(key) + word("cpu") + number(count) + b"tQ"
        hooks = b"ccollections\nOrderedDict\n)R"
        return rebuild + b"(" + persistent + number(offset) + numbers(shape) + numbers(stride) + b"\x89" + hooks + b"tR"

    def held(*parts: bytes) -> bytes:
        return in_zip(proto(2) + b"}" + b"".join(word("conv1.weight") + part + b"s" for part in parts) + b".")

    return {
        "a storage that is not there": held(tensor("9", 16, 0, (16,), (1,))),
        "a storage smaller than it says": held(tensor("0", 10**9, 0, (10**9,), (1,))),
        "a tensor beyond its storage": held(tensor("0", 16, 8, (16,), (1,))),
        "a tensor of 10^12 numbers by a stride of 0": held(tensor("0", 16, 0, (10**6, 10**6), (0, 0))),
        "a negative offset": held(tensor("0", 16, -4, (4,), (1,))),
        "a negative stride": held(tensor("0", 16, 12, (4,), (-1,))),
        "a negative shape": held(tensor("0", 16, 0, (-4,), (1,))),
        "a shape of 2^62": held(tensor("0", 16, 0, (1 << 62,), (1,))),
        "a storage by a path": held(tensor("../../../etc/passwd", 16, 0, (4,), (1,))),
        "a tensor rebuilt from nothing": held(rebuild + b")R"),
        "no pickle": zip_of({"archive/version": b"3"}),
        "two roots": zip_of({"a/data.pkl": b"N.", "b/data.pkl": b"N."}),
        "a pickle of 1 GB of nothing": in_zip(b"\0" * (1 << 24), compression=zipfile.ZIP_DEFLATED),
        "an empty zip": zip_of({}),
        "a script": zip_of({"archive/code/__torch__.py": b"import os", "archive/data.pkl": BODIES["exec"]}),
        "a root that climbs": in_zip(b"N.", root="../../x"),
        "half of it": in_zip(b"N.")[:120],
    }


def number(value: int) -> bytes:
    """Return the opcode that pushes a whole number."""
    raw = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def numbers(values: tuple[int, ...]) -> bytes:
    """Return opcodes that push a tuple of whole numbers."""
    return b"(" + b"".join(map(number, values)) + b"t"


def zip_of(files: dict[str, bytes]) -> bytes:
    """Return a zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def renamed() -> Iterator[Case]:
    """Yield pickles under the name of another kind, and another kind under a pickle's."""
    for name in ("GLOBAL and REDUCE", "exec"):
        for kind, wrap in WRAPPERS.items():
            data = wrap(BODIES[name])
            yield Case(f"{kind} pickle as .safetensors: {name}", lambda f, d=data: _as(f, d))
    yield Case("weights named .pkl", lambda folder: place(folder, ".pkl", in_zip(BODIES["exec"])))
    yield Case("weights named .npz", lambda folder: place(folder, ".npz", b"PK"))
    yield Case("weights without a suffix", lambda folder: place(folder, "", in_zip(BODIES["exec"])))


def _as(folder: Path, data: bytes) -> None:
    assert tensors_of(folder, WEIGHTS)
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).write_bytes(data)
