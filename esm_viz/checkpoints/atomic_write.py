"""Files are written beside their place and renamed when whole, so that nothing half-made is ever found."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from esm_viz.core.errors import ExportError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and rename it there when the block ends well.

    Raises:
        ExportError: the file cannot be written (no room, no right); nothing is left behind.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            Path(beside).replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:  # safetensors has its own error for a full disk
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"{path.name} cannot be written ({reason})", "choose another folder") from error


def expect_writable(path: Path) -> None:
    """Refuse, before long work, a path where no file could be written after it.

    Raises:
        ExportError: it is a folder, or lies where none can be made or written to.
    """
    try:
        nearest = next(place for place in path.absolute().parents if place.exists())
        possible = not path.is_dir() and nearest.is_dir() and os.access(nearest, os.W_OK)
    except OSError:
        possible = False
    if not possible:
        raise ExportError(f"{path.name} cannot be written there", "choose another place")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a `.safetensors` file whole."""
    with written_whole(path) as beside:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, dict(metadata))


def sha256_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hash tensors by sorted name, dtype, shape and bytes, wherever and however they are stored."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
