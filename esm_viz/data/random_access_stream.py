"""Reading a stream by index: forwards it goes on where it stopped, backwards it begins again."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Stepping(Generic[T]):
    """Items of a stream that can only be begun at some of its indices; shared by threads.

    Sets are read in ascending chunks, so that what lies compressed is unpacked once for a pass over all of it.
    """

    def __init__(self, count: int, starts: Sequence[int], begin: Callable[[int], Iterator[T]]) -> None:
        """Read nothing yet.

        Args:
            count: items in all.
            starts: indices where the stream can be begun, ascending, the first of them 0.
            begin: number of a start -> items from there to the stream's end; a generator, which closes its
                file when it is dropped.
        """
        self._count, self._starts, self._begin = count, starts, begin
        self._items: Iterator[T] | None = None  # none while no file is open
        self._next = 0
        self._lock = threading.Lock()

    def get(self, index: int) -> T:
        """Return one item."""
        with self._lock:
            start = bisect_right(self._starts, index) - 1
            if self._items is None or index < self._next or self._starts[start] > self._next:
                self._items, self._next = self._begin(start), self._starts[start]
            try:
                for _ in range(self._next, index):
                    next(self._items)
                item = next(self._items)
            except BaseException:
                self._close()  # a stream that failed has no next item
                raise
            self._next = index + 1
            if self._next == self._count:
                self._close()
            return item

    def _close(self) -> None:
        """Let go of the file; the next item opens it again."""
        self._items = None
