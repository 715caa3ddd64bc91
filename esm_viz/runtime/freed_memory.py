"""What the C library keeps of memory that was freed: few heaps, and given back now and then (glibc; nothing elsewhere).

Left alone, glibc makes up to eight heaps a core, one for each thread that comes along, and keeps in each what a merge
of that thread once needed: a gigabyte after some dozen merges of the demo (benchmarks/README.md).
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

_C: Any = ctypes.CDLL(None) if os.name == "posix" else None
_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h
HEAPS = 2


def few_heaps() -> None:
    """Let all threads share a few heaps; to be called before many have begun."""
    if hasattr(_C, "mallopt"):
        _C.mallopt(_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Return whole free pages to the system."""
    if hasattr(_C, "malloc_trim"):
        _C.malloc_trim(0)
