"""The α search on curves whose maximum is known."""

from __future__ import annotations

import math

import pytest

from esm_viz.search.alpha_search import DIGITS, START, WIDTH, bracket_alpha


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
    assert best == max(trace, key=lambda point: point.value)
    assert best.value == -((best.alpha - 0.7) ** 2)


def test_of_equal_values_the_smallest_alpha_is_taken() -> None:
    best, trace = bracket_alpha(lambda alpha: min(alpha, 0.4), 3.0)
    assert best.value == 0.4
    assert best.alpha == min(point.alpha for point in trace if point.value == 0.4)


def test_no_alpha_is_measured_twice() -> None:
    seen: list[float] = []
    bracket_alpha(lambda alpha: seen.append(alpha) or -abs(alpha - 0.31), 3.0)
    assert len(seen) == len(set(seen))


def test_every_alpha_is_inside_the_range_and_short_enough_to_be_written() -> None:
    for peak in (0.0, 0.9, 3.0):
        _, trace = bracket_alpha(lambda alpha, at=peak: -abs(alpha - at), 3.0)
        assert all(0 <= point.alpha <= 3.0 for point in trace)
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
    assert max(point.alpha for point in trace) == best.alpha == 0.3


@pytest.mark.parametrize("most", [0.05, 0.125, 0.2, 2.0, 2.5, 3.0])
def test_a_maximum_at_either_end_of_the_range_is_that_end(most: float) -> None:
    assert bracket_alpha(lambda alpha: alpha, most)[0].alpha == most
    assert bracket_alpha(lambda alpha: -alpha, most)[0].alpha == 0.0


@pytest.mark.parametrize("peak", [0.5, 1.0, 1.7])
def test_an_end_is_looked_at_only_where_the_bracket_reaches_it(peak: float) -> None:
    _, trace = bracket_alpha(lambda alpha: -abs(alpha - peak), 3.0)
    assert {0.0, 3.0}.isdisjoint(point.alpha for point in trace) == (peak < 1.5)  # 1.7 lies between 1 and the end


@pytest.mark.parametrize("steps", [4, 10, 33])
@pytest.mark.parametrize("peak", [0.17, 0.31, 0.62, 0.95, 1.3, 1.8, 2.6])
def test_the_top_of_a_staircase_is_found(peak: float, steps: int) -> None:
    # what accuracy over few images looks like: wide stairs, equal ones on both sides
    def stair(alpha: float) -> float:
        return math.floor(steps * math.exp(-(math.log((alpha + 1e-9) / peak) ** 2))) / steps

    best, _ = bracket_alpha(stair, 3.0)
    top = max(stair(alpha / 1000) for alpha in range(3001))
    assert best.value >= top - 1 / steps - 1e-12  # the top itself is one point, the stair below it is wide


def test_two_points_on_one_stair_do_not_lead_away_from_the_climb() -> None:
    # 0.5 is best of the first look; both points of the section at 0.536 and 0.714 lie on the low stair beyond it
    best, _ = bracket_alpha(lambda alpha: 1.0 if 0.44 <= alpha <= 0.51 else 0.5 if alpha > 0.2 else 0.0, 3.0)
    assert best.alpha == pytest.approx(0.44, abs=WIDTH)


def test_a_plateau_everywhere_ends_at_its_smallest_alpha() -> None:
    best, trace = bracket_alpha(lambda alpha: 0.7, 3.0)
    assert (best.alpha, best.value) == (0.0, 0.7)
    assert len(trace) <= 18


def test_what_is_not_a_number_is_never_the_best() -> None:
    best, _ = bracket_alpha(lambda alpha: math.nan if alpha < 0.2 or alpha > 1.5 else -abs(alpha - 0.27), 3.0)
    assert best.alpha == pytest.approx(0.27, abs=WIDTH)
    unknown, trace = bracket_alpha(lambda alpha: math.nan, 3.0)
    assert math.isnan(unknown.value)
    assert len(trace) <= 18
