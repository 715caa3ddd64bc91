"""Polar factors against a float64 SVD, over every shape and conditioning that a merge can produce."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from esm_viz.numerics.polar_factor import orthogonalized, polar
from tests.support.tiny import normal


def with_singular_values(m: int, n: int, values: list[float], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return a matrix with these singular values, and its minimal-norm polar factor U Vᵀ, made without any solver."""
    k = len(values)
    u = torch.linalg.qr(normal(m, k, seed=2 * seed))[0]
    v = torch.linalg.qr(normal(n, k, seed=2 * seed + 1))[0]
    s = torch.tensor(values, dtype=torch.float64)
    live = (s > 0).double()
    return (u * s) @ v.mT, (u * live) @ v.mT


@pytest.mark.parametrize(("m", "n"), [(9, 4), (4, 9), (6, 6), (1, 5), (5, 1), (1, 1)])
def test_the_factor_is_that_of_the_svd(m: int, n: int) -> None:
    matrix = normal(m, n, seed=1)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    found = polar(matrix)
    assert (found.factor - u @ vt).abs().max() < 1e-12  # condition numbers here are below 100
    assert abs(found.nuclear - s.sum()) < 1e-12 * s.sum()


@pytest.mark.parametrize("least", [1e-1, 1e-3, 3e-5, 1.1e-5, 0.9e-5, 3e-6, 1e-6, 1e-7, 1e-8])
@pytest.mark.parametrize(("m", "n"), [(9, 5), (5, 9), (5, 5)])
def test_ill_conditioned_matrices_stay_within_a_tenth_of_a_millionth(m: int, n: int, least: float) -> None:
    matrix, factor = with_singular_values(m, n, [1.0, 0.5, 0.1, 2 * least, least])
    # Squaring costs rounding times the condition squared; where that would pass 1e-7 the SVD has to take over.
    assert (polar(matrix).factor - factor).abs().max() < min(1e-15 / least**2, 1e-7)


@pytest.mark.parametrize("least", [1e-1, 1e-3, 1.1e-5, 0.9e-5, 1e-8])
def test_an_ill_conditioned_factor_is_still_orthonormal(least: float) -> None:
    factor = polar(with_singular_values(9, 5, [1.0, 0.5, 0.1, 2 * least, least])[0]).factor
    # 1e-10 where a level's squares end; below, rounding M itself moves its factor by as much as is allowed here.
    assert (factor.mT @ factor - torch.eye(5)).abs().max() < 1e-10 + 1e-15 / least


@pytest.mark.parametrize(("m", "n"), [(9, 5), (5, 9), (6, 6)])
def test_a_rank_deficient_matrix_gets_the_minimal_norm_factor(m: int, n: int) -> None:
    matrix, factor = with_singular_values(m, n, [3.0, 2.0, 1.0])
    found = polar(matrix)
    assert (found.factor - factor).abs().max() < 1e-12
    assert abs(found.nuclear - 6.0) < 1e-12
    assert abs(float(found.factor.square().sum()) - 3.0) < 1e-12  # rank many ones, not min(m, n)


def test_an_orthonormal_matrix_is_its_own_factor() -> None:
    basis = torch.linalg.qr(normal(9, 4, seed=3))[0]
    assert (polar(basis).factor - basis).abs().max() < 1e-14


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (1, 1), (4, 0), (0, 4)])
def test_zero_and_empty_matrices_have_a_zero_factor(shape: tuple[int, int]) -> None:
    found = polar(torch.zeros(shape, dtype=torch.float64))
    assert found.factor.shape == shape
    assert not found.factor.any()
    assert found.nuclear == 0


@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e-150, 1e150])
def test_scale_changes_the_nuclear_norm_and_not_the_factor(scale: float) -> None:
    matrix = normal(7, 5, seed=4)
    plain, scaled = polar(matrix), polar(matrix * scale)
    assert (scaled.factor - plain.factor).abs().max() < 1e-13
    assert abs(scaled.nuclear / scale - plain.nuclear) < 1e-13 * plain.nuclear


def test_the_transpose_has_the_transposed_factor() -> None:
    matrix = normal(7, 5, seed=5)
    assert torch.equal(polar(matrix.mT).factor, polar(matrix).factor.mT)


def test_a_zero_column_stays_zero() -> None:
    matrix = normal(6, 4, seed=6)
    matrix[:, 2] = 0
    assert polar(matrix).factor[:, 2].abs().max() < 1e-15


def test_the_matrix_handed_in_is_not_changed() -> None:
    matrix = normal(6, 4, seed=7)
    before = matrix.clone()
    polar(matrix)
    assert torch.equal(matrix, before)


def test_orthogonalized_is_the_factor_times_the_mean_singular_value() -> None:
    matrix = normal(6, 4, seed=8)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    assert (orthogonalized(matrix) - s.mean() * (u @ vt)).abs().max() < 1e-12


def test_orthogonalized_counts_the_zeros_it_is_told_of() -> None:
    matrix = normal(6, 4, seed=8)
    with_zeros = torch.cat([matrix, torch.zeros(6, 2, dtype=torch.float64)], 1)
    assert (orthogonalized(matrix, 6) - orthogonalized(with_zeros)[:, :4]).abs().max() < 1e-12
