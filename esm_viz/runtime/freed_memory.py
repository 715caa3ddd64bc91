"""Returning freed memory to the system: few malloc heaps, trimmed from time to time (glibc only).

By default, glibc makes up to eight heaps per core, one for each new thread, and keeps the freed memory of each: one
gigabyte after a few dozen merges of the demo (benchmarks/README.md).
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

_C: Any = ctypes.CDLL(None) if os.name == "posix" else None
_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h
HEAPS = 2


def few_heaps() -> None:
    """Make all threads share a few heaps; to be called before many threads have started."""
    if hasattr(_C, "mallopt"):
        _C.mallopt(_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Return free pages to the system."""
    if hasattr(_C, "malloc_trim"):
        _C.malloc_trim(0)
