"""Selection over parts against a sort of all numbers at once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from esm_viz.numerics.magnitude_selection import count_of_share, kth_largest_magnitude, magnitude_cutoff
from tests.support.tiny import normal

ROOMS = (0, 5, 1 << 20)  # bits down to the last, a few passes, all at once


def kth(numbers: Tensor, k: int, room: int) -> float:
    return kth_largest_magnitude(lambda: numbers.split(7), numbers.numel(), k, room)


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("k", [1, 2, 50, 99, 100])
def test_it_is_the_kth_of_the_sorted_magnitudes(k: int, room: int) -> None:
    numbers = normal(100, seed=1)
    assert kth(numbers, k, room) == numbers.abs().sort(descending=True).values[k - 1].item()


@given(
    numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30),
    share=st.floats(0, 1),
    room=st.sampled_from(ROOMS),
)
def test_any_numbers_are_selected_exactly(numbers: list[float], share: float, room: int) -> None:
    k = 1 + math.floor(share * (len(numbers) - 1))
    found = kth(torch.tensor(numbers, dtype=torch.float64), k, room)
    assert found == sorted(map(abs, numbers), reverse=True)[k - 1]


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize(("k", "magnitude"), [(1, 3.0), (2, 2.0), (3, 2.0), (4, 2.0), (5, 1.0)])
def test_equal_magnitudes_count_each(k: int, magnitude: float, room: int) -> None:
    assert kth(torch.tensor([2.0, -3.0, -2.0, 1.0, 2.0], dtype=torch.float64), k, room) == magnitude


@pytest.mark.parametrize("room", ROOMS)
def test_zeros_of_both_signs_are_zero(room: int) -> None:
    zeros = torch.tensor([0.0, -0.0] * 10, dtype=torch.float64)
    assert math.copysign(1, kth(zeros, 13, room)) == 1
    assert kth(zeros, 13, room) == 0


@pytest.mark.parametrize("room", ROOMS)
def test_one_entry_is_the_first_and_the_last(room: int) -> None:
    assert kth(torch.tensor([-4.5], dtype=torch.float64), 1, room) == 4.5


@pytest.mark.parametrize("room", ROOMS)
def test_neighbours_in_the_last_bit_are_told_apart(room: int) -> None:
    one = torch.ones(3, dtype=torch.float64)
    numbers = torch.cat([one, torch.nextafter(one, 2 * one)])
    assert (kth(numbers, 3, room), kth(numbers, 4, room)) == (numbers[-1].item(), 1.0)


def test_the_shapes_of_the_parts_do_not_matter() -> None:
    parts = [normal(3, 4, seed=1), normal(2, 2, 2, seed=2).mT, normal(5, seed=3), torch.tensor(1.5).double()]
    everything = torch.cat([part.flatten() for part in parts]).abs()
    found = [kth_largest_magnitude(lambda: parts, 26, k, room=3) for k in (1, 13, 26)]
    assert found == [everything.sort(descending=True).values[k - 1].item() for k in (1, 13, 26)]


def test_two_passes_do_where_the_room_is_a_tenth_of_the_numbers() -> None:
    # The first digit holds exponent and four bits after the point: no sixteenth of an octave has a tenth of a normal.
    numbers, passes = normal(40_000, seed=2), 0

    def parts() -> Iterator[Tensor]:
        nonlocal passes
        passes += 1
        return iter(numbers.split(1000))

    found = kth_largest_magnitude(parts, 40_000, 8000, room=4000)
    assert (found, passes) == (numbers.abs().topk(8000).values[-1].item(), 2)


def test_equal_numbers_beyond_the_room_are_never_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "cat", None)
    assert kth(torch.full((1000,), -0.25, dtype=torch.float64), 300, room=10) == 0.25


@pytest.mark.parametrize(
    ("share", "entries", "count"),
    [(0.29, 100, 29), (0.3, 10, 3), (0.2, 7, 1), (0.2, 4, 0), (1.0, 9, 9), (0.2, 304_000_000, 60_800_000)],
)
def test_a_share_counts_whole_entries(share: float, entries: int, count: int) -> None:
    assert count_of_share(share, entries) == count


def test_the_cutoff_of_a_share_leaves_that_many_entries() -> None:
    numbers = normal(50, seed=3)
    cutoff = magnitude_cutoff(lambda: [numbers], 50, 0.2)
    assert int((numbers.abs() >= cutoff).sum()) == 10


def test_a_share_below_one_entry_leaves_the_largest() -> None:
    numbers = normal(50, seed=3)
    assert magnitude_cutoff(lambda: [numbers], 50, 0.001) == numbers.abs().max().item()
