"""Independent pieces of work on all cores, each computed by one thread.

Two eigenproblems of size 768, each on its own core, take a third of the time of one after the other on both cores. The
bits of a result do not depend on how many pieces run at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import torch

from esm_viz.runtime.container_limits import cores_at_start

T = TypeVar("T")
R = TypeVar("R")
_own = threading.local()


def parallel_map(
    work: Callable[[T], R], pieces: Sequence[T], boundary: Callable[[int], None] = lambda done: None
) -> list[R]:
    """Return [work(piece) for each piece], computed on all cores.

    Args:
        work: function of one piece; must not wait for another piece of the same call.
        pieces: pieces in the order in which they start.
        boundary: called in the caller's thread, before the first and after each piece, with the number of finished
            ones; if it raises, no further piece starts, and the running ones are completed.
    """
    boundary(0)
    results: dict[int, R] = {}
    if len(pieces) < 2 or getattr(_own, "worker", False) or torch.get_num_threads() < 2:
        for at, piece in enumerate(pieces):
            with one_thread():
                results[at] = work(piece)
            boundary(at + 1)
        return list(results.values())
    pool = _pool()
    waiting = iter(enumerate(pieces))
    running: dict[Future[R], int] = {}

    def start(count: int) -> None:
        for _, (at, piece) in zip(range(count), waiting, strict=False):
            running[pool.submit(work, piece)] = at

    try:
        start(cores())
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                results[running.pop(future)] = future.result()
                boundary(len(results))
            start(len(done))
    except BaseException:
        for future in running:
            future.cancel()
        wait(running)
        raise
    return [results[at] for at in range(len(pieces))]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in the calling thread only, like a piece of `parallel_map`, so that the bits are the same."""
    before = torch.get_num_threads()
    if before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before > 1:
            torch.set_num_threads(before)


def thread_count() -> int:
    """Return with how many threads of the libraries the calling thread computes."""
    return torch.get_num_threads()


def begin_thread(count: int) -> None:
    """Let the calling thread compute with `count` threads of the libraries; asked again it changes nothing.

    A new thread takes the process's number, which is 1 while any other thread computes in `one_thread`: without this
    call a thread that begins at such a moment would compute with a single one for as long as it lives.
    """
    if getattr(_own, "begun", False):
        return
    _own.begun = True
    torch.get_num_threads()  # a thread's first look takes the process's number, and would undo the next line
    torch.set_num_threads(count)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return cores_at_start()


@cache
def _pool() -> ThreadPoolExecutor:
    """Return the process's pool of workers, each of which computes with one thread."""
    before, ready = torch.get_num_threads(), threading.Barrier(cores() + 1)

    def begin() -> None:
        _own.worker = True
        begin_thread(1)
        ready.wait(60)

    pool = ThreadPoolExecutor(cores(), "esm_viz", initializer=begin)
    for _ in range(cores()):
        pool.submit(lambda: None)
    ready.wait(60)
    torch.set_num_threads(before)
    return pool
