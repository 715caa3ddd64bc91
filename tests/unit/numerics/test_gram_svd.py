"""Singular values through Gram matrices, level by level, against spectra that are known and LAPACK's float64 SVD."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from esm_viz.numerics.gram_svd import (
    descending_eigen,
    gram,
    half_bytes,
    half_gram,
    right_levels,
    singular,
    through_polar,
)
from tests.support.tiny import normal

EPS = torch.finfo(torch.float64).eps


def with_values(m: int, n: int, values: Tensor, seed: int = 0) -> Tensor:
    """Return a matrix with these singular values, made without any solver of singular values."""
    u = torch.linalg.qr(normal(m, len(values), seed=2 * seed))[0]
    v = torch.linalg.qr(normal(n, len(values), seed=2 * seed + 1))[0]
    return (u * values) @ v.mT


WIDE_SPECTRA = {
    "flat": torch.ones(20, dtype=torch.float64),
    "nine digits": torch.logspace(0, -9, 20, dtype=torch.float64),
    "a gap at 1e-3": torch.cat([torch.linspace(2, 1, 10), torch.linspace(2e-3, 1e-3, 10)]).double(),
    "a cluster at 1e-7": torch.cat([torch.linspace(2, 1, 10), torch.full((10,), 1e-7)]).double(),
}


@pytest.mark.parametrize(("m", "n"), [(60, 20), (20, 60), (20, 20)])
@pytest.mark.parametrize("spectrum", WIDE_SPECTRA)
def test_values_are_right_to_rounding_of_the_largest(m: int, n: int, spectrum: str) -> None:
    truth = WIDE_SPECTRA[spectrum]
    found = singular(with_values(m, n, truth)).values
    assert len(found) == len(truth)
    # LAPACK's SVD promises a few eps of the largest; a level's squares add 1e-10 of each value itself.
    assert ((found - truth).abs() / (1e-10 * truth + 50 * EPS * truth[0])).max() < 1


@pytest.mark.parametrize(("m", "n"), [(60, 20), (20, 60), (20, 20)])
@pytest.mark.parametrize("spectrum", WIDE_SPECTRA)
def test_the_three_factors_multiply_to_the_matrix(m: int, n: int, spectrum: str) -> None:
    matrix = with_values(m, n, WIDE_SPECTRA[spectrum])
    left, values, right = singular(matrix)
    assert ((left * values) @ right.mT - matrix).norm() < 1e-14 * matrix.norm() * 20


@pytest.mark.parametrize("spectrum", WIDE_SPECTRA)
def test_right_vectors_are_orthonormal_across_levels(spectrum: str) -> None:
    right = singular(with_values(60, 20, WIDE_SPECTRA[spectrum])).right
    assert (right.mT @ right - torch.eye(20)).abs().max() < 1e-13


@pytest.mark.parametrize(("m", "n"), [(30, 12), (12, 30)])
def test_the_rank_is_the_numerical_one(m: int, n: int) -> None:
    left, values, right = singular(with_values(m, n, torch.tensor([3.0, 2.0, 1e-5], dtype=torch.float64)))
    assert (left.shape, values.shape, right.shape) == ((m, 3), (3,), (n, 3))


def test_what_rounding_makes_of_repeated_columns_does_not_count() -> None:
    wide = torch.logspace(0, -2.9, 12, dtype=torch.float64)  # strong ones down to where their squares end
    matrix = with_values(60, 12, wide)
    assert len(singular(torch.cat([matrix, matrix, -matrix], 1)).values) == 12


def test_a_zero_matrix_has_no_singular_values() -> None:
    assert [tuple(part.shape) for part in singular(torch.zeros(5, 3, dtype=torch.float64))] == [(5, 0), (0,), (3, 0)]


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_squares_neither_vanish_nor_overflow(scale: float) -> None:
    matrix = normal(9, 6, seed=3)
    found = singular(matrix * scale).values / scale
    assert (found - torch.linalg.svdvals(matrix)).abs().max() < 1e-13 * found[0]


def test_a_large_matrix_has_the_singular_values_that_lapack_finds() -> None:
    matrix = normal(800, 660, seed=4)  # blocked products begin at 640
    truth = torch.linalg.svdvals(matrix)
    assert (singular(matrix).values - truth).abs().max() < 1e-12 * truth[0]


@pytest.mark.parametrize(("m", "n"), [(7, 5), (700, 650), (100, 700)])
def test_a_gram_matrix_is_the_product_and_symmetric(m: int, n: int) -> None:
    matrix = normal(m, n, seed=5)
    found = gram(matrix)
    assert (found - matrix.mT @ matrix).abs().max() < 1e-14 * m * 20
    if n >= 640:
        edge = n // 6  # outside the blocks on the diagonal both halves are one product
        assert torch.equal(found[edge:, :edge], found[:edge, edge:].mT)


@pytest.mark.parametrize("n", [1, 7, 640, 701])
def test_halves_of_two_products_have_the_inner_product_of_the_wholes(n: int) -> None:
    one, other = normal(5, n, seed=8), normal(3, n, seed=9)
    truth = float((one @ other.mT).square().sum())  # ⟨MᵀM, NᵀN⟩ = ‖M Nᵀ‖²
    found = half_gram(one)
    assert float(found @ half_gram(other, twice=True)) == pytest.approx(truth, rel=1e-12)
    assert half_bytes(n) == found.numel() * found.element_size()
    assert (found.numel() < 0.6 * n * n) is (n >= 640)


def test_eigenvalues_descend_with_their_vectors() -> None:
    symmetric = gram(normal(9, 6, seed=6))
    values, vectors = descending_eigen(symmetric)
    assert (values[:-1] >= values[1:]).all()
    assert (symmetric @ vectors - vectors * values).abs().max() < 1e-13 * values[0]


def test_a_polar_factor_of_a_product_needs_only_the_right_sides_levels() -> None:
    """Q polar(M) from Q M alone: what lets p_task and p_dim move without the stack."""
    q, m = torch.linalg.qr(normal(40, 30, seed=7))[0], with_values(30, 12, torch.logspace(0, -5, 12).double())
    levels = right_levels(gram(m), lambda vectors: m @ vectors)
    u, _, vt = torch.linalg.svd(m, full_matrices=False)
    assert len(levels) == 2
    assert (through_polar(q @ m, levels) - q @ (u @ vt)).abs().max() < 5e-10
    # rounding, 2e-16, over the least singular value, 1e-5, of sums over 40: 6e-11 on one processor, 1.2e-10 on another
