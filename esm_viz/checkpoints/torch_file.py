"""Files written by `torch.save`: names, shapes and places of their tensors, found without running code of the file.

A zip, the format since 2020, is read lazily. Older pickles and files with sparse tensors are loaded whole at each read
and released afterwards, so their size is limited.
"""

from __future__ import annotations

import json
import math
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from esm_viz.checkpoints.layout_table import towers
from esm_viz.checkpoints.restricted_unpickler import StandIn, contents, harmful, load_inert
from esm_viz.checkpoints.tensor_storage import FLOATS, StoredTensor
from esm_viz.core.errors import RUNS_CODE, CheckpointError

MOST_WHOLE = 2 << 30  # bytes of a file that has to be loaded whole
_MOST_PICKLE = 4 << 20  # bytes of names and shapes in a zip; the numbers are separate
_MOST_CALLS = 100_000  # two per tensor; each takes the reader microseconds
_MOST_NAMES = 500  # of classes; the reader searches all of them at each call
_MOST_RECORDS = 100_000
_MOST_VISITS = 1_000_000  # a few bytes of pickle can name one dict very often
_DEEPEST = 40
_MOST_WRAPPERS = 4  # around each other
_WRAPPERS = ("state_dict", "model_state_dict", "model", "image_encoder")
_ZIP = b"PK\x03\x04"
CONVERT = "load it where it was made and save model.state_dict()"


class TorchFile:
    """The tensors of one file.

    Attributes:
        tensors: tensors by name; nested names are joined by dots, without wrappers.
        attributes: plain values of the saved object, as JSON.
        lazy: whether single tensors can be read; if not, `load` loads the whole file.
    """

    def __init__(self, title: str, path: Path) -> None:
        """Read names and shapes.

        Raises:
            CheckpointError: the file was not written by torch.save, asks to run code, or cannot be read safely.
        """
        self._title, self._path = title, path
        with path.open("rb") as file:
            zipped = file.read(4) == _ZIP
        places = self._records() if zipped else {}
        self._names = self._unknown() if zipped else {}
        self.lazy = zipped
        found: Any = None
        if zipped:
            try:
                found = self._load("meta")
            except NotImplementedError:  # checking a sparse tensor needs its numbers
                self.lazy = False
        if not self.lazy:
            found = self._whole()
        held = dict(_tensors(_unwrapped(found)))
        if zipped and self.lazy and any(not _placed(tensor) for tensor in held.values()):
            self.lazy = False  # an older torch does not tell the places of numbers
            held = dict(_tensors(_unwrapped(self._whole())))
        self.tensors = {name: self._stored(name, tensor, places) for name, tensor in held.items()}
        self.attributes = _attributes(found)

    def load(self) -> Iterator[tuple[str, Tensor]]:
        """Load the whole file and yield every tensor."""
        return _tensors(_unwrapped(self._whole()))

    def _whole(self) -> Any:
        if self._path.stat().st_size > MOST_WHOLE:
            raise self._error(
                f"too large to be loaded whole ({MOST_WHOLE >> 30} GiB at most)", "save it again by torch"
            )
        return self._load("cpu")

    def _load(self, where: str) -> Any:
        try:
            return load_inert(self._path, self._names, where, mmap=False)
        except (NotImplementedError, CheckpointError):
            raise
        except MemoryError as error:
            raise self._error("there is not enough memory to read it", "save it as safetensors") from error
        except Exception as error:  # a hostile pickle may raise any error
            raise self._unsafe() from error

    def _records(self) -> dict[int, int]:
        """Return the sizes of the zip's records by their starts in the file."""
        found = {}
        try:
            with zipfile.ZipFile(self._path) as archive, self._path.open("rb") as file:
                records = archive.infolist()
                names = [record.filename.partition("/")[2].lower() for record in records[:_MOST_RECORDS]]
                if "constants.pkl" in names:
                    raise self._error(
                        "this is a TorchScript archive, which is a program", "load it and save model.state_dict()"
                    )
                if names.count("data.pkl") != 1 or len(records) > _MOST_RECORDS:
                    raise self._error("a zip that torch.save did not write", "give a file of weights")
                if any(record.compress_type != zipfile.ZIP_STORED for record in records):
                    raise self._error("its tensors are compressed", "save it again by torch.save")
                if records[names.index("data.pkl")].file_size > _MOST_PICKLE:
                    raise self._error("its list of names is absurdly long", CONVERT)
                for record in records:
                    file.seek(record.header_offset + 26)
                    name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
                    found[record.header_offset + 30 + name + extra] = record.file_size
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeError) as error:
            raise self._error("not a whole file of torch.save", "download or save it again") from error
        return found

    def _unknown(self) -> dict[str, type]:
        """Return the names that the weights-only reader does not know, with what they hold; raise if one could harm."""
        try:
            with zipfile.ZipFile(self._path) as archive:
                listed = next(name for name in archive.namelist() if name.lower().endswith("/data.pkl"))
                pickled = archive.read(listed)
            bounded = _bounded(pickled)
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(self._path)) if bounded else []
            held = contents(pickled) if names else {}
        except Exception as error:  # likewise
            raise self._unsafe() from error
        if not bounded:
            raise self._unsafe()
        wrong = [name for name in names if harmful(name)]
        if wrong:
            what = f"refused, it asks to run {wrong[0]:.60}"
            raise self._error(what, "get the weights from somebody you trust", RUNS_CODE)
        return {name: held.get(name, object) for name in names}

    def _stored(self, name: str, tensor: Tensor, places: Mapping[int, int]) -> StoredTensor:
        shape = tuple(tensor.shape)
        kind = _odd(tensor)
        if kind:
            return StoredTensor(shape, kind, None, self._path)
        word = FLOATS.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))
        if not self.lazy:
            return StoredTensor(shape, word, tensor.dtype, self._path)
        storage: Any = tensor.untyped_storage()
        size, place = tensor.element_size(), storage._checkpoint_offset  # noqa: SLF001 - `_placed` asks whether it is there
        extent = 0 if not tensor.numel() else 1 + sum((n - 1) * s for n, s in zip(shape, tensor.stride(), strict=True))
        if places.get(place) != storage.nbytes() or (tensor.storage_offset() + extent) * size > storage.nbytes():
            raise self._error(f"the numbers of {name:.60} are not there", "download or save it again")
        start = place + int(tensor.storage_offset()) * size
        stride = () if tensor.is_contiguous() else tuple(tensor.stride())
        return StoredTensor(shape, word, tensor.dtype, self._path, start, extent * size, stride)

    def _unsafe(self) -> CheckpointError:
        return self._error("not a file of tensors that can be read safely", CONVERT)

    def _error(self, what: str, remedy: str, kind: str = "") -> CheckpointError:
        return CheckpointError(what, remedy, self._path.name, kind=kind, subject=self._title)


def _bounded(pickled: bytes) -> bool:
    """Say whether unpickling takes memory and time in proportion to the size of the pickle."""
    calls = 0
    names: set[str] = set()
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            names.add(str(argument))
        elif isinstance(argument, str) and "punycode" in argument.lower():  # an encoding in quadratic time
            return False
        calls += opcode.name in ("REDUCE", "NEWOBJ", "BUILD")
    return calls <= _MOST_CALLS and len(names) <= _MOST_NAMES and not any(n.endswith(" bytearray") for n in names)


def _placed(tensor: Tensor) -> bool:
    return bool(_odd(tensor)) or hasattr(tensor.untyped_storage(), "_checkpoint_offset")


def _odd(tensor: Tensor) -> str:
    """Return in words why a tensor cannot be read as plain numbers; empty if it can."""
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_conj() or tensor.is_neg():
        return "a lazy view"
    if math.prod(tensor.shape) > tensor.untyped_storage().nbytes() // tensor.element_size():
        return "one number repeated"
    return ""


def _inside(value: object) -> Mapping[Any, Any] | None:
    """Return the entries of a dict or stand-in; for a module, its parameters, buffers and modules together."""
    if isinstance(value, dict):
        return dict(dict.items(value))  # not its own `items`, which a pickle can set
    state = value.state if isinstance(value, StandIn) else None
    if not isinstance(state, dict):
        return None
    kinds = [state.get(kind) for kind in ("_parameters", "_buffers", "_modules")]
    held = [kind for kind in kinds if isinstance(kind, dict)]
    return {name: inner for kind in held for name, inner in kind.items()} if held else state


def _unwrapped(found: object) -> object:
    """Return the weights inside the usual wrapper: a dict with weights and the state of the training."""
    for _ in range(_MOST_WRAPPERS):
        inside = _inside(found) or {}
        key = next((key for key in _WRAPPERS if _inside(inside.get(key)) is not None), None)
        if key is None or isinstance(found, StandIn) or any(isinstance(value, Tensor) for value in inside.values()):
            break
        beside = {name: value for name, value in inside.items() if name != key}
        if towers(name for name, _ in _tensors(beside)) or _same_names(inside[key], beside):
            break  # another model, an average of the weights over the training, say: both keep their names
        found = inside[key]
    return found


def _same_names(weights: object, beside: dict[str, object]) -> bool:
    """Say whether something beside weights has most of their names, as their average over the training has."""
    own = {name for name, _ in _tensors(weights)}
    others = {name.partition(".")[2] for name, _ in _tensors(beside)}
    return 2 * len(own & others) > len(own)


def _tensors(found: object) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested dicts and modules, depth first, in the file's order."""
    if isinstance(found, Tensor):
        yield "weight", found.detach()
        return
    visits, todo = 0, [("", found, 0)]
    while todo:
        name, value, depth = todo.pop()
        visits += 1
        if isinstance(value, Tensor):
            yield name, value.detach()
        elif visits < _MOST_VISITS and depth < _DEEPEST and (inside := _inside(value)) is not None:
            start = f"{name}." if name else ""
            todo += [
                (f"{start}{key}", inner, depth + 1) for key, inner in reversed([*inside.items()]) if type(key) is str
            ]


def _attributes(found: object) -> dict[str, str]:
    state = found.state if isinstance(found, StandIn) and isinstance(found.state, dict) else {}
    plain = {key: value for key, value in state.items() if isinstance(value, bool | int | float | str)}
    return {key: json.dumps(value) for key, value in plain.items() if type(key) is str}
