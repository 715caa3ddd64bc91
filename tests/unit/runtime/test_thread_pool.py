"""Pieces of work on all cores: every result in its place, the same bits as alone, and a stop that stops."""

from __future__ import annotations

import threading

import pytest
import torch

from esm_viz.core.errors import Cancelled
from esm_viz.runtime import thread_pool
from tests.support.tiny import normal


def test_results_come_in_the_order_of_the_pieces(threads: int) -> None:
    assert thread_pool.parallel_map(lambda piece: piece * piece, range(20)) == [piece * piece for piece in range(20)]


def test_nothing_to_do_is_done_at_once(threads: int) -> None:
    assert thread_pool.parallel_map(lambda piece: 1 / 0, []) == []


def test_every_piece_is_computed_by_one_thread_of_the_library(threads: int) -> None:
    assert thread_pool.parallel_map(lambda piece: torch.get_num_threads(), range(5)) == [1] * 5


def test_the_callers_own_number_of_threads_stays(threads: int) -> None:
    thread_pool.parallel_map(lambda piece: piece, range(5))
    assert torch.get_num_threads() == threads


def test_pieces_have_the_bits_that_they_have_alone(threads: int) -> None:
    matrices = [normal(150, 150, seed=seed) for seed in range(6)]
    with thread_pool.one_thread():
        alone = [matrix @ matrix for matrix in matrices]
    found = thread_pool.parallel_map(lambda matrix: matrix @ matrix, matrices)
    assert all(torch.equal(mine, other) for mine, other in zip(found, alone, strict=True))


def test_two_pieces_run_at_once_where_there_are_two_cores(two_threads: None) -> None:
    both = threading.Barrier(2, timeout=20)
    assert sorted(thread_pool.parallel_map(lambda piece: both.wait(), range(2))) == [0, 1]


@pytest.mark.parametrize("count", [1, 2])
def test_a_thread_begins_with_the_number_that_it_is_given(two_threads: None, count: int) -> None:
    """Also while another one computes alone, and once: what it computes alone itself is not undone."""
    counts: list[int] = []

    def work() -> None:
        thread_pool.begin_thread(count)
        counts.append(torch.get_num_threads())
        with thread_pool.one_thread():
            thread_pool.begin_thread(count)
            counts.append(torch.get_num_threads())
        counts.append(torch.get_num_threads())

    with thread_pool.one_thread():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert counts == [count, 1, count]
    assert torch.get_num_threads() == 2


def test_the_boundary_counts_what_is_done(threads: int) -> None:
    seen: list[int] = []
    thread_pool.parallel_map(lambda piece: piece, range(4), seen.append)
    assert seen == [0, 1, 2, 3, 4]


def test_a_boundary_that_raises_stops_within_the_pieces_under_way(threads: int) -> None:
    ran: list[int] = []

    def stop(done: int) -> None:
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        thread_pool.parallel_map(ran.append, range(50), stop)
    assert 2 <= len(ran) <= 2 + threads
    count = len(ran)
    thread_pool.parallel_map(lambda piece: piece, range(2))
    assert len(ran) == count  # nothing of the stopped work runs on


def test_a_piece_that_fails_ends_the_work_with_its_error(threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        thread_pool.parallel_map(lambda piece: 1 / (piece - 3), range(50))


def test_work_inside_of_a_piece_does_not_wait_for_workers(threads: int) -> None:
    nested = thread_pool.parallel_map(
        lambda piece: sum(thread_pool.parallel_map(lambda inner: inner * piece, range(5))), range(8)
    )
    assert nested == [10 * piece for piece in range(8)]
