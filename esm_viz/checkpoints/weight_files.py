"""One model's file or files, of any known kind, as named tensors; headers are read first, numbers only when needed."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from esm_viz.checkpoints.tensor_storage import FLOATS, StoredTensor, scan, sha256_text
from esm_viz.checkpoints.torch_file import TorchFile
from esm_viz.core.errors import CheckpointError

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
INDEX = ".index.json"  # ends the name of a list of shards
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
NAMES = (
    *("model.safetensors.index.json", "model.safetensors", "open_clip_model.safetensors"),
    *("pytorch_model.bin.index.json", "pytorch_model.bin", "open_clip_pytorch_model.bin"),
    *("nonlinear_finetuned.pt", "finetuned.pt", "nonlinear_zeroshot.pt", "zeroshot.pt"),
    *ADAPTERS,
)
"""File names of a folder's model, in the order in which they are looked for."""
_FORMATS = frozenset(NAMES[:6])  # of them, those under which libraries save the same model again in another format
_BEGIN = 512  # bytes
_LONGEST_HEADER = 100_000_000  # bytes, safetensors' own limit
_TORCH = (b"PK\x03\x04", b"\x80\x02")  # a zip, or a pickle, of torch.save
MOST_JSON = 16 << 20  # bytes of a list of shards or a config
_WRAPPER = "module."  # prefix of all names that data parallelism adds
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module|_forward_module|_fpw_module)\."
)
"""Parts of names that compiling, checkpointing and sharding add, around the model or around each block."""
_OTHER = {
    b"version https://git-lfs": "a Git LFS pointer instead of the file it stands for",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML page",
}
"""First bytes, in lower case, of files that were saved in place of a download."""
_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64} | {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}


class Source:
    """The tensors of one model.

    Attributes:
        path: the file, or the list of shards.
        tensors: tensors by name, in the order of the files; without the parts that training wrappers add.
        metadata: metadata of the file.
        files: all files that hold the tensors.
        not_read: names of weights beside the file that a folder's model may be too; empty if the file was named.
    """

    def __init__(self, title: str, path: Path) -> None:
        """Read the headers.

        Raises:
            CheckpointError: there is no such file, or it cannot be read.
        """
        self._title = title
        self.path = _model_in(title, path) if path.is_dir() else path
        if not self.path.is_file():
            raise CheckpointError("there is no such file", "check the path in the recipe", path.name, subject=title)
        self._whole: dict[Path, TorchFile] = {}  # files of which no single tensors can be read
        self.metadata: dict[str, str] = {}
        if self.path.name.endswith(INDEX):
            self.files, found = self._sharded()
            whole = self.path.with_name(self.path.name.removesuffix(INDEX))
            if path.is_dir() and whole.is_file() and whole not in self.files:
                raise CheckpointError(
                    f"the folder holds a model in one file, {whole.name}, and one in shards",
                    "remove the older one, or name the file itself",
                    path.name,
                    subject=title,
                )
        else:
            self.files, found = (self.path,), self._opened(self.path)
        read = {file.name for file in self.files}
        others = [name for name in NAMES if name in _FORMATS and name not in read and (path / name).is_file()]
        self.not_read = tuple(others) if self.path.name in _FORMATS else ()
        self._own_names = _without_wrappers(found)
        self.tensors = {name: found[own] for name, own in self._own_names.items()}

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield some tensors as stored, file by file.

        Raises:
            OSError, EOFError, ValueError: a file changed since it was opened.
        """
        by_file: dict[Path, list[str]] = {}
        for name in dict.fromkeys(names):
            by_file.setdefault(self.tensors[name].path, []).append(name)
        for path, wanted in by_file.items():
            if path in self._whole:
                held = dict(self._whole[path].load())
                yield from ((name, held[self._own_names[name]].contiguous()) for name in wanted)
                continue
            with path.open("rb", buffering=0) as file:
                for name in wanted:
                    yield name, self.tensors[name].read(file)

    def scan(self, names: Iterable[str]) -> tuple[str, dict[str, str]]:
        """Read every file once: hash it, and look for NaN and Inf.

        Args:
            names: names of the tensors to check.

        Returns:
            SHA-256, as hex, of the file, or of several files' names and digests; "NaN" or "Inf" by tensor.
        """
        digests: dict[str, str] = {}
        wrong: dict[str, str] = {}
        wanted = {name: self.tensors[name] for name in names}
        for path in self.files:
            here = {name: stored for name, stored in wanted.items() if stored.path == path}
            digests[path.name], found = scan(path, {} if path in self._whole else here)
            wrong |= found
            if path in self._whole:
                for name, tensor in self.read(here):
                    if not torch.isfinite(tensor).all():
                        wrong[name] = "NaN" if torch.isnan(tensor).any() else "Inf"
        if self.files == (self.path,):
            return digests[self.path.name], wrong
        return sha256_text("".join(f"{name}\0{digests[name]}\n" for name in sorted(digests))), wrong

    def _opened(self, path: Path) -> dict[str, StoredTensor]:
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise self._error("this is no file of weights", f"give {', '.join(SUFFIXES)} or a folder", path)
        try:
            if not path.stat().st_size:
                raise self._error("the file is empty", "download or save it again", path)
            begin = first_bytes(path)
            other = saved_instead(begin)
            if other:
                raise self._error(f"{other}, no weights", "download the file itself", path)
            if suffix == ".safetensors" and begin.startswith(_TORCH):
                raise self._error("a file of torch.save, not of safetensors", "rename it to .pt", path)
            if suffix == ".safetensors" or _is_safetensors(begin):
                return self._safetensors(path)
            file = TorchFile(self._title, path)
        except OSError as error:
            raise self._error(f"cannot be read ({error.strerror})", "check its rights", path) from error
        if not file.lazy:
            self._whole[path] = file
        self.metadata |= file.attributes
        return file.tensors

    def _safetensors(self, path: Path) -> dict[str, StoredTensor]:
        try:
            with safe_open(path, "pt") as file:  # checks the whole header
                self.metadata |= file.metadata() or {}
            with path.open("rb") as plain:
                (length,) = struct.unpack("<Q", plain.read(8))
                header = json.loads(plain.read(length))
        except (SafetensorError, OSError, ValueError, struct.error) as error:
            reason = str(error).splitlines()[0] if str(error) else "cannot be read"
            raise self._error(f"not a whole safetensors file ({reason})", "download or save it again", path) from error
        return {name: _safetensor(path, 8 + length, entry) for name, entry in header.items() if name != "__metadata__"}

    def _sharded(self) -> tuple[tuple[Path, ...], dict[str, StoredTensor]]:
        where = read_json(self.path, self._title).get("weight_map")
        if not isinstance(where, dict) or not where or not all(map(_plain_name, where.values())):
            raise self._error("its weight_map does not name files beside it", "download it again", self.path)
        found: dict[str, StoredTensor] = {}
        names = sorted(set(where.values()))
        for shard in names:
            path = self.path.with_name(shard)
            if not path.is_file():
                raise self._error(f"the shard {shard:.80} is missing", "put all shards beside the index", self.path)
            opened = self._opened(path)
            lost = [name for name, at in where.items() if at == shard and name not in opened]
            if lost:
                raise self._error(f"{lost[0]:.80} is not in {shard:.80}", "download all shards again", self.path)
            found |= {name: stored for name, stored in opened.items() if where.get(name) == shard}
        return (self.path, *(self.path.with_name(name) for name in names)), found

    def _error(self, what: str, remedy: str, path: Path) -> CheckpointError:
        return CheckpointError(what, remedy, path.name, subject=self._title)


def read_json(path: Path, title: str) -> dict[str, Any]:
    """Read a JSON object of bounded size.

    Raises:
        CheckpointError: the file is not a JSON object, or too large.
    """
    try:
        if path.stat().st_size > MOST_JSON:
            raise ValueError
        found = json.loads(path.read_text(encoding="utf-8-sig"))  # Windows writes a mark in front
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CheckpointError("not a JSON object", "download it again", path.name, subject=title)
    return found


def _model_in(title: str, folder: Path) -> Path:
    """Return the path of a folder's only model."""
    known = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if known is not None:
        return known
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(("head_", "."))
    )
    if len(found) != 1:
        what = f"the folder holds {len(found)} files of weights" if found else "the folder holds no weights"
        raise CheckpointError(what, "name the file itself", folder.name, subject=title)
    return found[0]


def _plain_name(name: object) -> bool:
    return isinstance(name, str) and Path(name).name == name and "\\" not in name and name.lower().endswith(SUFFIXES)


def _without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Return a file's names by the names without the parts of training wrappers, which stay if two would be equal."""
    given = list(names)
    bare = [_WRAPPERS.sub("", name) for name in given]
    if len(set(bare)) != len(bare):
        bare = given
    while bare and all(name.startswith(_WRAPPER) for name in bare):
        bare = [name.removeprefix(_WRAPPER) for name in bare]
    return dict(zip(bare, given, strict=True))


def saved_instead(begin: bytes) -> str:
    """Say in words what a file is that was saved in place of a download; empty if it is not known to be one.

    Args:
        begin: the first bytes of the file.
    """
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((words for mark, words in _OTHER.items() if text.startswith(mark)), "")


def first_bytes(path: Path) -> bytes:
    """Return as many bytes from the start of a file as are enough to see what it is."""
    with path.open("rb") as file:
        return file.read(_BEGIN)


def _is_safetensors(begin: bytes) -> bool:
    """Say whether a file begins with the length of a header and a JSON object."""
    return begin[8:9] == b"{" and 0 < int.from_bytes(begin[:8], "little") <= _LONGEST_HEADER


def _safetensor(path: Path, behind: int, entry: Mapping[str, Any]) -> StoredTensor:
    dtype = _DTYPES.get(entry["dtype"])
    kind = FLOATS.get(dtype, entry["dtype"]) if dtype else entry["dtype"]
    start, end = entry["data_offsets"]
    return StoredTensor(tuple(entry["shape"]), kind, dtype, path, behind + start, end - start)
