"""The cache of all stages: an LRU cache with explicit keys and a limit in bytes.

A key is a tuple of everything that its stage depends on (file digests, knobs). If two threads request the same key, it
is computed once; a computation that fails or is cancelled leaves nothing. Small values that are slow to compute may be
moved to files instead of being evicted; only this cache in this process reads these files.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from esm_viz.runtime.container_limits import machine_memory

T = TypeVar("T")
SHARE_OF_MEMORY = 4  # the default limit is a quarter of the memory there is
SHARE_OF_STAGES = 4  # decoded images may take a quarter of the limit for stages
SPILL_FACTOR = 8  # limit on disk, as a multiple of the limit in memory
_OVERHEAD = 256  # bytes added to the size of every entry, so that the number of small ones is limited too
_own = threading.local()


def default_limit() -> int:
    """Return a quarter of the memory that the machine or the container has, in bytes."""
    return machine_memory() // SHARE_OF_MEMORY


def computing() -> bool:
    """Say whether this thread is computing a value for which others may be waiting."""
    return getattr(_own, "depth", 0) > 0


class _Entry(NamedTuple):
    value: object
    storages: Mapping[int, int]  # bytes by address
    spills: bool


class StageCache:
    """A cache of stages' values by key, with at most `limit` bytes in memory.

    Attributes:
        limit: bytes that values may take.
        bytes: what they take now; memory that two values share counts once.
        images: the cache of decoded images, with a bound of its own. Images are many and quick to decode again: in one
            cache with the stages they would push decompositions out, which are not.
    """

    def __init__(self, limit: int | None = None, spill: Path | None = None, of_images: bool = False) -> None:
        """Start empty.

        Args:
            limit: bytes; by default a quarter of memory.
            spill: folder in which to make a folder for evicted values; without it, evicted values are lost.
            of_images: whether this is the cache of decoded images of another cache.
        """
        self.limit = default_limit() if limit is None else limit
        self.images = self if of_images else StageCache(self.limit // SHARE_OF_STAGES, of_images=True)
        self.bytes = 0
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._holders: Counter[int] = Counter()  # number of entries that hold the memory at an address
        self._running: dict[Hashable, tuple[threading.Lock, int]] = {}  # lock and number of its users
        self._guard = threading.Lock()
        self._disk = _Spill(spill, SPILL_FACTOR * self.limit) if spill is not None else None

    def get(self, key: Hashable, compute: Callable[[], T], spills: bool = False) -> T:
        """Return the value of `key`; compute it if it is not cached.

        Args:
            key: everything that `compute` depends on.
            compute: returns the value.
            spills: whether to write the value, a named tuple of tensors, to a file when it is evicted from memory.
        """
        found, value = self._find(key)
        if found:
            return cast(T, value)
        with self._guard:
            turn, users = self._running.get(key, (threading.Lock(), 0))
            self._running[key] = turn, users + 1
        try:
            with turn:
                found, value = self._find(key)
                if not found:
                    with torch.inference_mode(False):  # tensors of that mode could not be used outside of it
                        value = self._disk.take(key) if self._disk and spills else None
                        value = _computed(compute) if value is None else value
                    self._keep(key, value, spills)
        finally:
            with self._guard:  # the last user deletes the lock, also after a failure
                turn, users = self._running.pop(key)
                if users > 1:
                    self._running[key] = turn, users - 1
        return cast(T, value)

    def has(self, key: Hashable) -> bool:
        """Say whether a value is cached, in memory or in a file."""
        with self._guard:
            if key in self._entries:
                return True
        return self._disk is not None and self._disk.has(key)

    def forget(self, digests: Iterable[str]) -> None:
        """Drop every value that was computed from one of these files, as its key has a file's digest."""
        gone = tuple(digests)
        with self._guard:
            for key in [key for key in self._entries if _names_any(key, gone)]:
                self._subtract(self._entries.pop(key))
        if self._disk:
            self._disk.forget(gone)
        if self.images is not self:
            self.images.forget(gone)

    def _find(self, key: Hashable) -> tuple[bool, object]:
        with self._guard:
            entry = self._entries.get(key)
            if entry is None:
                return False, None
            self._entries.move_to_end(key)
            return True, entry.value

    def _keep(self, key: Hashable, value: object, spills: bool) -> None:
        kept = _Entry(value, _storages(value), spills)
        leaving: list[tuple[Hashable, _Entry]] = []
        with self._guard:
            if _OVERHEAD + sum(kept.storages.values()) > self.limit:
                leaving.append((key, kept))
            else:
                self._entries[key] = kept
                self._add(kept)
            while self.bytes > self.limit:
                leaving.append(self._entries.popitem(last=False))
                self._subtract(leaving[-1][1])
        for left, entry in leaving if self._disk else ():  # outside the lock, so that no thread waits for the disk
            if entry.spills and self._disk:
                self._disk.put(left, cast(tuple[Tensor, ...], entry.value))

    def _add(self, entry: _Entry) -> None:
        """Count an entry, without memory that another entry holds as well: a merged layer is its method's product."""
        self.bytes += _OVERHEAD + sum(size for at, size in entry.storages.items() if not self._holders[at])
        self._holders.update(entry.storages.keys())

    def _subtract(self, entry: _Entry) -> None:
        """Count an entry no longer, but for memory that another entry holds as well."""
        self._holders.subtract(entry.storages.keys())
        free = [at for at in entry.storages if not self._holders[at]]
        self.bytes -= _OVERHEAD + sum(entry.storages[at] for at in free)
        for at in free:
            del self._holders[at]


def _computed(compute: Callable[[], T]) -> T:
    _own.depth = getattr(_own, "depth", 0) + 1
    try:
        return compute()
    finally:
        _own.depth -= 1


class _Spill:
    """Named tuples of tensors in files of a new folder, at most `limit` bytes; deleted with this object."""

    def __init__(self, parent: Path, limit: int) -> None:
        self._folder = parent / f"esm_viz-{secrets.token_hex(8)}"
        self._folder.mkdir(parents=True, mode=0o700)
        self._limit, self._bytes = limit, 0
        self._files: OrderedDict[Hashable, tuple[Path, int, type, str]] = OrderedDict()
        self._guard = threading.Lock()
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def put(self, key: Hashable, value: tuple[Tensor, ...]) -> None:
        """Write a value to a file; if the disk is full, drop it."""
        path = self._folder / f"{secrets.token_hex(8)}.safetensors"
        size = size_in_bytes(value)
        with self._guard:
            if key in self._files or size > self._limit:
                return
        try:
            save_file({str(at): part.cpu().contiguous() for at, part in enumerate(value)}, path)
        except (OSError, SafetensorError):
            path.unlink(missing_ok=True)
            return
        with self._guard:
            self._files[key] = path, size, type(value), str(value[0].device)
            self._bytes += size
            while self._bytes > self._limit:
                _, (old, freed, _, _) = self._files.popitem(last=False)
                old.unlink(missing_ok=True)
                self._bytes -= freed

    def has(self, key: Hashable) -> bool:
        """Say whether a value was written to a file that was not removed again."""
        with self._guard:
            return key in self._files

    def forget(self, digests: tuple[str, ...]) -> None:
        """Remove the files of values that were computed from one of these files."""
        with self._guard:
            for key in [key for key in self._files if _names_any(key, digests)]:
                path, freed, _, _ = self._files.pop(key)
                path.unlink(missing_ok=True)
                self._bytes -= freed

    def take(self, key: Hashable) -> object | None:
        """Read a value; None if it was not written, or its file is missing or broken."""
        with self._guard:
            found = self._files.get(key)
            if found is not None:
                self._files.move_to_end(key)
        if found is None:
            return None
        path, _, kind, device = found
        try:
            parts = load_file(path, device=device)
        except (OSError, SafetensorError):
            with self._guard:
                self._bytes -= self._files.pop(key, (path, 0, kind, device))[1]
            return None
        return kind(*(parts[str(at)] for at in range(len(parts))))


def _names_any(key: Hashable, digests: tuple[str, ...]) -> bool:
    """Say whether a key contains a digest, also inside texts such as a recipe's identity."""
    if isinstance(key, str):
        return any(digest in key for digest in digests)
    return isinstance(key, tuple) and any(_names_any(part, digests) for part in key)


def size_in_bytes(value: object) -> int:
    """Return the bytes of all tensors in a value made of tuples, lists, mappings and tensors, shared ones once."""
    return sum(_storages(value).values())


def _storages(value: object) -> dict[int, int]:
    """Return the bytes of the memory behind all tensors in a value, by its address."""
    if isinstance(value, Tensor):
        storage = value.untyped_storage()  # a view keeps all of it alive
        return {storage.data_ptr(): storage.nbytes()} if storage.nbytes() else {}
    parts: Iterable[object] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        parts = value
    found: dict[int, int] = {}
    for part in parts:
        found |= _storages(part)
    return found
