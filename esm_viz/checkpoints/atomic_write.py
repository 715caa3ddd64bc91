"""Atomic writing: a file is written under a temporary name and renamed when complete."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
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
    """Yield a temporary path beside `path`, and rename it to `path` if the block raises no error.

    The file has the rights of the file that it replaces, or of any new file: safetensors alone would write mode 600.

    Raises:
        ExportError: the file cannot be written (disk full, no permission); the temporary file is deleted.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.touch()
            mode = stat.S_IMODE((path if path.is_file() else beside).stat().st_mode)
            yield beside
            beside.chmod(mode)
            Path(beside).replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:  # safetensors has its own error for a full disk
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"{path.name} cannot be written ({reason})", "choose another folder") from error


def expect_writable(path: Path) -> None:
    """Check before long work that a file can be written to this path.

    Raises:
        ExportError: the path is a folder, or its folder cannot be made or written to.
    """
    try:
        nearest = next(place for place in path.absolute().parents if place.exists())
        possible = not path.is_dir() and nearest.is_dir() and os.access(nearest, os.W_OK)
    except OSError:
        possible = False
    if not possible:
        raise ExportError(f"{path.name} cannot be written there", "choose another place")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a `.safetensors` file atomically."""
    with written_whole(path) as beside:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside, dict(metadata))


def sha256_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hash tensors by sorted name, dtype, shape and bytes; independent of device and memory layout."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
