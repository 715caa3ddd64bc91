"""Silence for what other libraries warn of while they read a stranger's file: the file is judged, not the warning."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0  # threads that are reading
_before = warnings.catch_warnings(action="ignore")  # keeps the filters of before the first of them


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings; of threads side by side the last one restores the filters that the first one found.

    Python keeps one list of filters for all threads. If each thread put back what it found itself, one that began later
    and ended last would leave warnings off for good.
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
