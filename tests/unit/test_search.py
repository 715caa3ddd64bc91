"""The α search on curves whose maximum is known."""

from __future__ import annotations

import pytest

from esm_viz.search import DIGITS, START, WIDTH, bracket_alpha


@pytest.mark.parametrize("peak", [0.03, 0.125, 0.2, 0.31, 0.5, 0.77, 1.0, 1.4, 2.0, 2.3, 2.9])
def test_the_maximum_of_a_unimodal_curve_is_found(peak: float) -> None:
    best, _ = bracket_alpha(lambda alpha: -abs(alpha - peak), 3.0)
    assert abs(best.alpha - peak) <= WIDTH


@pytest.mark.parametrize("peak", [0.2, 0.77, 2.3])
def test_a_smooth_curve_is_found_as_well(peak: float) -> None:
    best, _ = bracket_alpha(lambda alpha: 1 / (1 + (alpha - peak) ** 2), 3.0)
    assert abs(best.alpha - peak) <= WIDTH


def test_the_best_seen_is_returned_with_its_value() -> None:
    best, trace = bracket_alpha(lambda alpha: -((alpha - 0.7) ** 2), 3.0)
    assert best == max(trace, key=lambda point: point.normalised)
    assert best.normalised == -((best.alpha - 0.7) ** 2)


def test_of_equal_values_the_smallest_alpha_is_taken() -> None:
    best, trace = bracket_alpha(lambda alpha: min(alpha, 0.4), 3.0)
    assert best.normalised == 0.4
    assert best.alpha == min(point.alpha for point in trace if point.normalised == 0.4)


def test_no_alpha_is_measured_twice() -> None:
    seen: list[float] = []
    bracket_alpha(lambda alpha: seen.append(alpha) or -abs(alpha - 0.31), 3.0)
    assert len(seen) == len(set(seen))


def test_every_alpha_is_inside_the_range_and_short_enough_to_be_written() -> None:
    for peak in (0.0, 0.9, 3.0):
        _, trace = bracket_alpha(lambda alpha, at=peak: -abs(alpha - at), 3.0)
        assert all(0 < point.alpha <= 3.0 for point in trace)
        assert all(point.alpha == round(point.alpha, DIGITS) for point in trace)


def test_the_trace_is_in_the_order_visited_and_starts_with_the_grid() -> None:
    seen: list[float] = []
    _, trace = bracket_alpha(lambda alpha: seen.append(alpha) or -abs(alpha - 0.31), 3.0)
    assert [point.alpha for point in trace] == seen
    assert seen[: len(START)] == list(START)


def test_a_search_takes_few_steps() -> None:
    for peak in (0.05, 0.7, 2.9):
        _, trace = bracket_alpha(lambda alpha, at=peak: -abs(alpha - at), 3.0)
        assert len(trace) <= 18


def test_a_range_that_ends_early_is_kept_to() -> None:
    best, trace = bracket_alpha(lambda alpha: alpha, 0.3)
    assert max(point.alpha for point in trace) <= 0.3
    assert abs(best.alpha - 0.3) <= WIDTH
