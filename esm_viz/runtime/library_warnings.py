"""Suppressing warnings of other libraries while they read a user's file; the file's own checks report what is wrong."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0  # threads that are reading
_before = warnings.catch_warnings(action="ignore")  # restores the filters from before the first thread


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings in the block; of concurrent threads, the last one restores the original filters.

    Python has one list of filters for all threads. If each thread restored the list that it found, a thread that starts
    later and ends last would leave warnings off forever.
    """
    global _inside, _before  # noqa: PLW0603 - the filters are the process's too
    with _lock:
        if not _inside:
            _before = warnings.catch_warnings(action="ignore")
            _before.__enter__()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _before.__exit__(None, None, None)
