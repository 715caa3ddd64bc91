"""Polarized scaling: one formula, worked by hand."""

from __future__ import annotations

import torch

from esm_viz.numerics.polarized_scaling import relative_power


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_factors_are_powers_of_the_norm_over_the_mean() -> None:
    assert relative_power(vector(1, 2, 3), 2.0).tolist() == [0.25, 1.0, 2.25]  # the mean is 2


def test_exponent_zero_switches_the_level_off_even_for_a_zero_norm() -> None:
    assert relative_power(vector(0, 5, 7), 0.0).tolist() == [1.0, 1.0, 1.0]


def test_equal_norms_are_left_alone() -> None:
    assert relative_power(vector(3, 3, 3), 2.0).tolist() == [1.0, 1.0, 1.0]


def test_where_nothing_moved_all_factors_are_one() -> None:
    assert relative_power(vector(0, 0), 2.0).tolist() == [1.0, 1.0]


def test_a_common_scale_cancels() -> None:
    norms = vector(1, 4, 9)
    assert torch.allclose(relative_power(norms * 1e30, 1.7), relative_power(norms, 1.7), rtol=1e-14, atol=0)
