"""Access by index to a stream: a later item continues the stream, an earlier one restarts it."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class RandomAccessStream(Generic[T]):
    """Items of a stream that can be started only at some indices; may be shared by threads.

    Image sets are read in ascending order, so one pass over a set unpacks compressed data once.
    """

    def __init__(self, count: int, starts: Sequence[int], begin: Callable[[int], Iterator[T]]) -> None:
        """Keep the arguments; nothing is read yet.

        Args:
            count: total number of items.
            starts: indices where the stream can be started, ascending, the first one 0.
            begin: position in `starts` -> generator of the items from there to the stream's end; it closes its file
                when it is deleted.
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
        """Close the file; the next `get` opens it again."""
        self._items = None
