"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from esm_viz.runtime.freed_memory import give_back

MB = 1 << 20
C = ctypes.CDLL(None)


def resident() -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


@pytest.mark.skipif(not hasattr(C, "malloc_trim"), reason="another C library than glibc keeps its own house")
def test_free_pages_below_what_is_still_used_go_back() -> None:
    C.malloc.restype, C.malloc.argtypes, C.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    size = 64 * 1024  # below what glibc maps for itself
    pieces = [C.malloc(size) for _ in range(100 * MB // size)]
    for piece in pieces:
        ctypes.memset(piece, 1, size)
    for piece in pieces[:-1]:  # the last one keeps the end of the heap where it is
        C.free(piece)
    before = resident()
    give_back()
    assert before - resident() > 80 * MB
    C.free(pieces[-1])
