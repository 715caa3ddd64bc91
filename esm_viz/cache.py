"""One cache for all stages: explicit keys, bounded in bytes, least recently used leaves first.

A key is a tuple of everything its stage reads (content digests, knobs). Two threads that ask for the same key compute
it once; a computation that fails or is cancelled leaves nothing behind.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar, cast

from torch import Tensor

T = TypeVar("T")
SHARE_OF_MEMORY = 4  # the default bound is a quarter of the machine's memory
_OVERHEAD = 256  # bytes counted for any entry, so that small ones are bounded too


def default_limit() -> int:
    """Return a quarter of the machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE_OF_MEMORY


class StageCache:
    """Values of stages by key, at most `limit` bytes of them."""

    def __init__(self, limit: int | None = None) -> None:
        """Start empty; `limit` in bytes, a quarter of memory where None."""
        self.limit = default_limit() if limit is None else limit
        self.bytes = 0
        self._entries: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._running: dict[Hashable, tuple[threading.Lock, int]] = {}  # with how many use it
        self._guard = threading.Lock()

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the value of `key`, computing it once if it is not there."""
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
                    value = compute()
                    self._keep(key, value)
        finally:
            with self._guard:  # the lock goes with the last who waits for it, also after a failure
                turn, users = self._running.pop(key)
                if users > 1:
                    self._running[key] = turn, users - 1
        return cast(T, value)

    def _find(self, key: Hashable) -> tuple[bool, object]:
        with self._guard:
            entry = self._entries.get(key)
            if entry is None:
                return False, None
            self._entries.move_to_end(key)
            return True, entry[0]

    def _keep(self, key: Hashable, value: object) -> None:
        size = _OVERHEAD + size_in_bytes(value)
        with self._guard:
            if size > self.limit:
                return
            self._entries[key] = value, size
            self.bytes += size
            while self.bytes > self.limit:
                _, (_, freed) = self._entries.popitem(last=False)
                self.bytes -= freed


def size_in_bytes(value: object) -> int:
    """Return the bytes of all tensors in a value made of tuples, lists, mappings and tensors."""
    if isinstance(value, Tensor):
        return value.untyped_storage().nbytes()  # a view keeps all of it alive
    if isinstance(value, Mapping):
        return sum(size_in_bytes(item) for item in value.values())
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return sum(size_in_bytes(item) for item in value)
    return 0
