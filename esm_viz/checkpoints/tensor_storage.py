"""The place of a tensor's numbers in a file, and reading them in chunks of bounded size, without memory mapping."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path

import torch
from torch import Tensor

FLOATS = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float32: "float32", torch.float64: "float64"}
_CHUNK = 1 << 20  # bytes, a multiple of every type's size


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a file.

    Attributes:
        shape: shape of the tensor.
        kind: type in words; one of `FLOATS` if it can hold weights.
        dtype: torch's type; None if the numbers cannot be read.
        path: path of the file.
        start, extent: position of the first byte, and number of bytes up to the end of the last number.
        stride: strides in numbers; () if contiguous.
    """

    shape: tuple[int, ...]
    kind: str
    dtype: torch.dtype | None
    path: Path
    start: int = 0
    extent: int = 0
    stride: tuple[int, ...] = ()

    def read(self, file: BufferedReader | FileIO) -> Tensor:
        """Read the numbers into a new tensor.

        Raises:
            EOFError: the file is shorter than its header says.
        """
        assert self.dtype is not None  # checked before anything is read
        held = bytearray(self.extent)
        file.seek(self.start)
        if file.readinto(held) != self.extent:
            raise EOFError
        if not held:
            return torch.empty(self.shape, dtype=self.dtype)
        flat = torch.frombuffer(held, dtype=self.dtype)
        return flat.as_strided(self.shape, self.stride).contiguous() if self.stride else flat.view(self.shape)


def scan(path: Path, tensors: Mapping[str, StoredTensor]) -> tuple[str, dict[str, str]]:
    """Read a file once from start to end: hash it, and look for NaN and Inf.

    Args:
        path: path of the file.
        tensors: the tensors to check, by name.

    Returns:
        SHA-256 as hex, and "NaN" or "Inf" by name for tensors that hold one.
    """
    digest = hashlib.sha256()
    wrong: dict[str, str] = {}
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb") as file:

        def take(count: int) -> memoryview:
            part = buffer[: file.readinto(buffer[: min(count, _CHUNK)])]
            digest.update(part)
            return part

        at, again = 0, []
        for name, stored in sorted(tensors.items(), key=lambda item: item[1].start):
            if stored.start < at:  # it shares bytes with a tensor that was checked before
                again.append((name, stored))
                continue
            while at < stored.start and (part := take(stored.start - at)):
                at += len(part)
            end = stored.start + stored.extent
            while at < end and (part := take(end - at)):
                at += len(part)
                _look(name, torch.frombuffer(part, dtype=stored.dtype), wrong)  # type: ignore[arg-type]
        while take(_CHUNK):
            pass
        for name, stored in again:
            _look(name, stored.read(file), wrong)
    return digest.hexdigest(), wrong


def _look(name: str, numbers: Tensor, wrong: dict[str, str]) -> None:
    if name not in wrong and not torch.isfinite(numbers).all():
        wrong[name] = "NaN" if torch.isnan(numbers).any() else "Inf"


def sha256_file(path: Path) -> str:
    """Return a file's SHA-256, as hex."""
    return scan(path, {})[0]


def sha256_text(text: str) -> str:
    """Return a text's SHA-256, as hex; works for file names that are not valid text too."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
