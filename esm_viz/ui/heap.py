"""What the C library keeps of memory that was freed: few heaps, and given back now and then (glibc; nothing elsewhere).

Left alone, glibc makes eight heaps a core, one for each thread that comes along, and keeps in each what a merge of that
thread once needed: after some dozen merges of the demo in changing threads that was four times the cache's bound.
"""

from __future__ import annotations

import ctypes

_C = ctypes.CDLL(None) if hasattr(ctypes, "RTLD_GLOBAL") else None
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
