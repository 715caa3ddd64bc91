"""Which directions are real, what they weigh, how much energy they keep; numbers that can be worked out by hand."""

from __future__ import annotations

import pytest
import torch

from esm_viz.core.errors import NumericsError
from esm_viz.numerics.eigenvalue_spectrum import (
    FLOOR,
    cumulative_energy,
    least_ratio,
    live_directions,
    rank_for_energy,
    rank_of_ratio,
    spectrum_weights,
)
from tests.support.errors import says


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_directions_at_the_floor_are_dead_and_above_it_live() -> None:
    assert live_directions(vector(2.0, 2.1 * FLOOR, 2.0 * FLOOR, 0.0)).tolist() == [True, True, False, False]


def test_a_task_that_moved_nothing_has_no_live_direction() -> None:
    assert not live_directions(vector(0.0, 0.0)).any()


def test_weights_are_the_formula_of_the_paper() -> None:
    eigenvalues, gamma = vector(9.0, 4.0, 1.0), 0.15
    w = (eigenvalues / eigenvalues.mean()) ** gamma
    truth = w / w.mean()
    assert torch.allclose(spectrum_weights(eigenvalues, gamma, 3), truth, rtol=1e-14, atol=0)


def test_exponent_zero_gives_live_directions_one_and_the_same_weight() -> None:
    assert spectrum_weights(vector(9.0, 4.0, 1.0), 0.0, 3).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("gamma", [0.0, 0.15, 1.0])
def test_a_dead_direction_weighs_nothing_at_any_exponent(gamma: float) -> None:
    assert spectrum_weights(vector(1.0, 0.5, 1e-11), gamma, 3)[2] == 0


@pytest.mark.parametrize("gamma", [0.0, 0.15, 1.0])
def test_dead_directions_stay_in_the_mean(gamma: float) -> None:
    weights = spectrum_weights(vector(1.0, 0.5, 1e-11), gamma, 5)  # two more were never listed
    assert abs(float(weights.sum()) - 5.0) < 1e-14


def test_weights_do_not_depend_on_the_scale_of_the_eigenvalues() -> None:
    eigenvalues = vector(9.0, 4.0, 1.0)
    tiny = spectrum_weights(eigenvalues * 1e-60, 0.15, 3)
    assert torch.allclose(tiny, spectrum_weights(eigenvalues, 0.15, 3), rtol=1e-13, atol=0)


def test_a_task_that_moved_nothing_weighs_nothing_and_is_not_nan() -> None:
    assert spectrum_weights(vector(0.0, 0.0), 0.15, 2).tolist() == [0.0, 0.0]


def test_cumulative_energy_is_the_share_of_the_first_k() -> None:
    assert cumulative_energy(vector(6.0, 3.0, 1.0)).tolist() == pytest.approx([0.6, 0.9, 1.0], abs=1e-15)


def test_cumulative_energy_of_nothing_is_one_everywhere() -> None:
    assert cumulative_energy(vector(0.0, 0.0)).tolist() == [1.0, 1.0]


def test_cumulative_energy_takes_rounding_below_zero_for_zero() -> None:
    assert cumulative_energy(vector(1.0, -1e-18)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("share", "rank"), [(0.5, 1), (0.6, 1), (0.61, 2), (0.9, 2), (0.95, 3), (1.0, 3)])
def test_the_fewest_directions_that_keep_a_share(share: float, rank: int) -> None:
    assert rank_for_energy(vector(6.0, 3.0, 1.0), share) == rank


def test_one_direction_with_everything_is_enough() -> None:
    assert rank_for_energy(vector(5.0, 0.0, 0.0), 0.9) == 1


def test_where_nothing_moved_no_direction_is_needed() -> None:
    assert rank_for_energy(vector(0.0, 0.0), 0.9) == 0


@pytest.mark.parametrize(
    ("ratio", "d_out", "tasks", "rank"),
    [(1.0, 768, 8, 96), (1.0, 64, 3, 21), (0.5, 64, 4, 8), (1.0, 5, 5, 1), (0.01, 768, 2, 3), (0.3, 10, 1, 3)],
)
def test_rank_is_the_floor_of_its_share(ratio: float, d_out: int, tasks: int, rank: int) -> None:
    assert rank_of_ratio(ratio, d_out, tasks) == rank


def test_a_ratio_that_leaves_no_direction_is_refused_with_one_that_does() -> None:
    text = "rank_ratio 0.01 leaves r = 0 of 64 directions for 4 tasks, use at least 0.0625"
    with says(NumericsError, text):
        rank_of_ratio(0.01, 64, 4)


@pytest.mark.parametrize("d_out", [48, 64, 96, 192, 768, 3072])
@pytest.mark.parametrize("tasks", [1, 3, 4, 7, 20])
def test_the_ratio_that_the_refusal_names_works(d_out: int, tasks: int) -> None:
    with pytest.raises(NumericsError) as refused:
        rank_of_ratio(0.5 * tasks / d_out, d_out, tasks)
    named = float(refused.value.remedy.rpartition(" ")[2])
    assert rank_of_ratio(named, d_out, tasks) == 1


@pytest.mark.parametrize(("d_out", "tasks", "ratio"), [(16, 24, 1.0), (8, 9, 0.5), (2, 3, 0.01)])
def test_where_no_ratio_fits_none_is_named(d_out: int, tasks: int, ratio: float) -> None:
    text = (
        f"{tasks} tasks are more than the {d_out} directions there are, so that no rank fits, "
        "take fewer tasks, or a method without a rank"
    )
    with says(NumericsError, text):
        rank_of_ratio(ratio, d_out, tasks)


@pytest.mark.parametrize(
    ("d_out", "tasks", "step", "least"),
    [(64, 4, 0.01, 0.07), (128, 8, 0.01, 0.07), (100, 7, 0.01, 0.07), (768, 20, 1e-4, 0.0261), (8, 8, 0.01, 1.0)],
)
def test_the_least_ratio_is_on_a_step_and_works(d_out: int, tasks: int, step: float, least: float) -> None:
    assert least_ratio(d_out, tasks, step) == least
    assert rank_of_ratio(least, d_out, tasks) >= 1


def test_more_directions_than_there_are_is_refused() -> None:
    with says(NumericsError, "rank_ratio 1.1 asks for 2 x 11 directions of 20, use at most 1"):
        rank_of_ratio(1.1, 20, 2)
