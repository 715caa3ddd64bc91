"""Checkpoints on disk, seen as vision towers: headers judged whole before a weight is read, tensors read when needed.

Which layouts are known, `layouts.py` says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from esm_viz.checkpoints.layouts import layout_of
from esm_viz.errors import CheckpointError, DigestMismatch, LayoutError, NotFinite, ShapeMismatch
from esm_viz.types import FileFacts

_FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_CHUNK = 1 << 20


class Checkpoint:
    """One `.safetensors` file, seen through a tower's parameter names.

    Attributes:
        title: "base" or the model's name, for people.
        path: where it lies.
        layout: how the file names the tower's tensors.
        names: every tensor of the file.
    """

    def __init__(self, title: str, path: Path) -> None:
        """Read the header.

        Raises:
            CheckpointError: the file cannot be read as safetensors, or holds something that is not a float.
        """
        self.title, self.path = title, path
        if not path.is_file():
            raise CheckpointError(f"{title}: there is no such file", "check the path in the recipe", path.name)
        if path.suffix != ".safetensors":
            raise CheckpointError(f"{title}: this is not a .safetensors file", "convert it to safetensors", path.name)
        try:
            with safe_open(path, "pt") as file:
                views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
                self._shapes = {name: tuple(view.get_shape()) for name, view in views.items()}
                self._dtypes = {name: view.get_dtype() for name, view in views.items()}
                self.metadata: dict[str, str] = file.metadata() or {}
            self._opened = _stamp(path)
            self._verified = False
        except (SafetensorError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else "cannot be read"
            raise CheckpointError(
                f"{title}: not a whole safetensors file ({reason})", "download or save it again", path.name
            ) from error
        self.names = tuple(self._shapes)
        self.layout = layout_of(self.names)

    def facts(self, shapes: Mapping[str, tuple[int, ...]]) -> FileFacts:
        """Say what the header holds of a tower's parameters, whether the file fits or not.

        Args:
            shapes: of the tower's parameters, by open_clip's names.
        """
        held = [name for name in shapes if self.layout.in_file(name) in self._shapes]
        fitting = [name for name in held if self.shape(name) == shapes[name]]
        dtypes = {self._dtypes[self.layout.in_file(name)] for name in held}
        return FileFacts(
            name=self.title,
            file=self.path.name,
            layout=self.layout.title if held else "unknown",
            dtype=", ".join(sorted(_FLOATS.get(dtype, dtype) for dtype in dtypes)),
            parameters=sum(torch.Size(self.shape(name)).numel() for name in held),
            bytes=self.path.stat().st_size,
            matched=len(fitting),
            missing=tuple(sorted(set(shapes) - set(held))),
            extra=tuple(sorted(set(self.names) - {self.layout.in_file(name) for name in shapes})),
            misshaped=tuple(name for name in held if self.shape(name) != shapes[name]),
        )

    def complaint(self, shapes: Mapping[str, tuple[int, ...]]) -> CheckpointError | None:
        """Compare the header with a tower's parameters; return every mismatch of the first kind that is found.

        Args:
            shapes: of the tower's parameters, by open_clip's names.

        Returns:
            LayoutError: tensors are missing, or extra ones stand among the tower's. ShapeMismatch: shapes differ.
            CheckpointError: a tensor of the tower is not float. None: the file fits.
        """
        facts = self.facts(shapes)
        among = {inner for name in self.names if (inner := self.layout.in_tower(name)) is not None}
        unknown = tuple(sorted(among - set(shapes)))
        if facts.missing or unknown:
            found = f"{self.title}: " + "; ".join(
                f"{len(names)} tensors {word} ({_some(names)})"
                for word, names in (("missing", facts.missing), ("unknown", unknown))
                if names
            )
            return LayoutError(found, "give an open_clip vision tower or full CLIP of this arch", self.path.name)
        wrong = facts.misshaped
        if wrong:
            first = ", ".join(f"{name} is {self.shape(name)}, in the arch {shapes[name]}" for name in wrong[:2])
            more = f" and {len(wrong) - 2} more" if len(wrong) > 2 else ""
            return ShapeMismatch(f"{self.title}: {first}{more}", "use checkpoints of this arch", self.path.name)
        odd = [name for name in shapes if self._dtypes[self.layout.in_file(name)] not in _FLOATS]
        if odd:
            dtype = self._dtypes[self.layout.in_file(odd[0])]
            return CheckpointError(f"{self.title}: {odd[0]} is {dtype}", "save it as float16, 32 or 64", self.path.name)
        return None

    def judge(self, shapes: Mapping[str, tuple[int, ...]]) -> FileFacts:
        """Return what the header holds, of a file that fits a tower.

        Args:
            shapes: of the tower's parameters, by open_clip's names.

        Raises:
            CheckpointError: it does not fit, with every mismatch at once.
        """
        error = self.complaint(shapes)
        if error is not None:
            raise error
        return self.facts(shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tower's parameter in this file."""
        return self._shapes[self.layout.in_file(name)]

    def tensors(self, names: Iterable[str], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Read some of the tower's parameters, as stored where no type is asked for.

        Raises:
            NotFinite: one holds NaN or Inf.
            CheckpointError: the file changed underneath.
        """
        return {name: tensor.to(dtype or tensor.dtype) for name, tensor in self._stream(names)}

    def everything(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor of the file under its own name, as stored.

        Raises:
            CheckpointError: the file changed underneath.
        """
        try:
            with safe_open(self.path, "pt") as file:
                for name in self.names:
                    yield name, file.get_tensor(name)
            self._same()
        except (SafetensorError, OSError) as error:
            raise self._changed() from error

    def verify(self, names: Iterable[str], expected: str = "") -> str:
        """Read the whole file once: hash it, and refuse numbers that are not finite.

        Args:
            names: the tower's parameters.
            expected: SHA-256 the recipe names, or "".

        Returns:
            The file's SHA-256, as hex.

        Raises:
            DigestMismatch: the file is not the one the recipe names.
            NotFinite: a tensor of the tower holds NaN or Inf.
        """
        try:
            digest = sha256_file(self.path)
        except OSError as error:
            raise self._changed() from error
        if expected and digest != expected:
            raise DigestMismatch(
                f"{self.title}: SHA-256 is {digest[:12]}…, the recipe names {expected[:12]}…",
                "use the file the recipe was made with, or drop sha256",
                self.path.name,
            )
        for _ in self._stream(names):
            pass
        self._verified = True  # as long as the file stays what it is, which every reading looks after
        return digest

    def _stream(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        try:
            with safe_open(self.path, "pt") as file:
                for name in names:
                    tensor = file.get_tensor(self.layout.in_file(name))
                    if not self._verified and not torch.isfinite(tensor).all():
                        kind = "NaN" if torch.isnan(tensor).any() else "Inf"
                        raise NotFinite(f"{self.title}: {name} holds {kind}", "save it again", self.path.name)
                    yield name, tensor
            self._same()
        except (SafetensorError, OSError) as error:
            raise self._changed() from error

    def _same(self) -> None:
        """Refuse a file that is not the one whose header was read and whose digest was taken."""
        if _stamp(self.path) != self._opened:
            raise self._changed()

    def _changed(self) -> CheckpointError:
        return CheckpointError(f"{self.title}: the file changed while it was read", "start again", self.path.name)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to; of its two times one cannot be put back."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def sha256_file(path: Path) -> str:
    """Return a file's SHA-256, as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files by sorted relative name.

    Raises:
        CheckpointError: one of them cannot be read.
    """
    try:
        if path.is_file():
            return sha256_file(path)
        digest = hashlib.sha256()
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_file(file)}\n".encode("utf-8", "replace"))
    except OSError as error:
        raise CheckpointError("a file cannot be read", "check its rights and that it is there", path.name) from error
    return digest.hexdigest()


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} …" if len(names) > 3 else shown
