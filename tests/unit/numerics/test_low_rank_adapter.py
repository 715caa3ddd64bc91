"""Low-rank adapters against the dense output shift that they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from esm_viz.core.errors import NumericsError
from esm_viz.numerics.low_rank_adapter import low_rank_adapter
from esm_viz.numerics.second_moments import Moment
from tests.support.errors import says
from tests.support.tiny import normal, relative

SHAPES = [(12, 5, 40), (5, 12, 40), (8, 8, 40), (12, 5, 3), (5, 12, 3), (8, 8, 1)]


def moment_of(x: Tensor) -> Moment:
    return Moment(x.mT @ x, len(x), x.mean(0))


@pytest.mark.parametrize(("d_out", "d_in", "n"), SHAPES)
@pytest.mark.parametrize("rank", [1, 3, 128])
def test_an_expert_is_the_projection_on_the_shifts_leading_directions(d_out: int, d_in: int, n: int, rank: int) -> None:
    residual, x = normal(d_out, d_in, seed=1), normal(n, d_in, seed=2)
    B, A = low_rank_adapter(residual, moment_of(x), rank)
    leading = torch.linalg.svd(x @ residual.mT, full_matrices=False)[2][:rank].mT
    assert relative(B @ A, leading @ leading.mT @ residual) < 1e-7  # float64, through squares and gaps of 1 %
    assert B.shape == (d_out, min(rank, d_out, d_in, n))
    assert A.shape == (B.shape[1], d_in)
    assert (B.mT @ B - torch.eye(B.shape[1])).abs().max() < 1e-12  # orthonormal


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_what_it_leaves_of_the_output_is_the_other_eigenvalues(rank: int) -> None:
    residual, x = normal(9, 7, seed=3), normal(30, 7, seed=4)
    B, A = low_rank_adapter(residual, moment_of(x), rank)
    truth = torch.linalg.svdvals(x @ residual.mT)[rank:].square().sum()
    assert abs((x @ (residual - B @ A).mT).square().sum() / truth - 1) < 1e-10  # float64


def test_at_full_rank_it_gives_back_all_that_the_inputs_can_tell() -> None:
    residual, x = normal(9, 7, seed=3), normal(30, 7, seed=4)
    B, A = low_rank_adapter(residual, moment_of(x), 128)
    assert relative(B @ A, residual) < 1e-12


def test_directions_at_rounding_level_are_left_out() -> None:
    thin = normal(9, 2, seed=5) @ normal(2, 7, seed=6)
    B, A = low_rank_adapter(thin, moment_of(normal(30, 7, seed=7)), 5)
    assert (B.shape, A.shape) == ((9, 2), (2, 7))
    assert relative(B @ A, thin) < 1e-12


def test_where_nothing_is_lacking_there_is_no_expert() -> None:
    B, A = low_rank_adapter(torch.zeros(4, 6, dtype=torch.float64), moment_of(normal(9, 6, seed=1)), 3)
    assert (B.shape, A.shape) == ((4, 0), (0, 6))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_size_does_not_matter(scale: float) -> None:
    residual, moment = normal(6, 8, seed=1), moment_of(normal(20, 8, seed=2))
    (B, A), (b, a) = low_rank_adapter(residual * scale, moment, 3), low_rank_adapter(residual, moment, 3)
    assert relative(B @ (A / scale), b @ a) < 1e-9


def test_a_number_that_is_none_is_refused() -> None:
    residual = normal(4, 6, seed=1)
    residual[0, 0] = torch.nan
    with says(NumericsError, "the change of this layer is not finite, check the checkpoint for NaN or Inf"):
        low_rank_adapter(residual, moment_of(normal(9, 6, seed=1)), 3)
