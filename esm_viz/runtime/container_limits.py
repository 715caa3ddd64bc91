"""What a container may use of its machine: the memory and processor limits of Linux control groups, versions 1 and 2.

Python's own numbers are the machine's: in a container of 8 GB on a machine of 256 GB they would allow a cache of 64 GB.
Imports neither torch nor numpy, whose libraries read their number of threads when they are first imported.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path("/")
_GROUPS = "sys/fs/cgroup"  # where Linux mounts them
_UNLIMITED = 1 << 60  # version 1 writes a huge number where there is no limit


def machine_memory(root: Path = ROOT) -> int:
    """Return the memory that this process may use, in bytes: the machine's, or less where its container has less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *(limit for limit, _ in _memory(root))])


def free_memory(root: Path = ROOT) -> int:
    """Return the memory that is free for this process, in bytes; 0 if unknown."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return 0
    return min([available, *(max(limit - used, 0) for limit, used in _memory(root))])


def usable_cores(root: Path = ROOT) -> int:
    """Return how many cores this process may use: those it may run on, or fewer where its container has a quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(root))]))


@cache
def cores_at_start() -> int:
    """Return `usable_cores`, read once."""
    return usable_cores()


def _memory(root: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and use of memory, in bytes, of every group that this process is in and that has a limit.

    What the kernel can drop at once, files that it read, does not count as used.
    """
    for folder in _folders(root, ""):
        if limit := _number(folder / "memory.max"):
            yield limit, _used(folder, "memory.current", "inactive_file")
    for folder in _folders(root, "memory"):
        if (limit := _number(folder / "memory.limit_in_bytes")) and limit < _UNLIMITED:
            yield limit, _used(folder, "memory.usage_in_bytes", "total_inactive_file")


def _used(folder: Path, file: str, droppable: str) -> int:
    words = _text(folder / "memory.stat").split()
    known = dict(zip(words[::2], words[1::2], strict=False))
    return _number(folder / file) - int(known.get(droppable, 0))


def _quotas(root: Path) -> Iterator[float]:
    """Yield how many cores every group of this process with a quota may keep busy."""
    for folder in _folders(root, ""):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.strip().isdigit():
            yield int(quota) / int(period)
    for folder in _folders(root, "cpu"):
        quota, period = (_text(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota.isdigit() and period.isdigit():  # -1: no quota
            yield int(quota) / int(period)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group and of all groups around it; of version 2 for no controller.

    A container may see its group's path as the machine has it, while only the group itself is mounted, as the top.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller not in controllers.split(",") or ".." in PurePosixPath(path).parts:
            continue
        top = root / _GROUPS / controllers if controller else root / _GROUPS
        if controller and not top.is_dir():
            top = root / _GROUPS / controller
        inside = PurePosixPath(path.lstrip("/"))
        yield from (top / part for part in (inside, *inside.parents))


def _number(path: Path) -> int:
    """Return a file's number; 0 where there is none, as in a file that says max."""
    text = _text(path)
    return int(text) if text.isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
