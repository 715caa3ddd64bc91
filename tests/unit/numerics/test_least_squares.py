"""Least-norm solutions against dense solvers, over every way in which a second moment can be short of rank."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from esm_viz.numerics.eigenvalue_spectrum import FLOOR
from esm_viz.numerics.least_squares import _least_eigenvalue, least_norm_solution
from tests.support.tiny import normal, relative


def gram(tokens: int, inputs: int, seed: int = 1) -> Tensor:
    x = normal(tokens, inputs, seed=seed)
    return x.mT @ x


def with_eigenvalues(values: list[float]) -> tuple[Tensor, Tensor]:
    vectors = torch.linalg.qr(normal(len(values), len(values), seed=4))[0]
    return (vectors * torch.tensor(values, dtype=torch.float64)) @ vectors.mT, vectors


def test_a_regular_moment_is_solved() -> None:
    g, truth = gram(40, 6), normal(6, 5, seed=2)
    assert relative(least_norm_solution(g, g @ truth), truth) < 1e-13  # condition number below 10


@pytest.mark.parametrize("tokens", [1, 4])
def test_fewer_tokens_than_inputs_give_the_least_norm(tokens: int) -> None:
    g, right = gram(tokens, 7), gram(tokens, 7) @ normal(7, 5, seed=2)
    assert relative(least_norm_solution(g, right), torch.linalg.pinv(g, hermitian=True) @ right) < 1e-11


def test_dependent_inputs_give_the_least_norm() -> None:
    x = normal(40, 6, seed=1)
    x[:, 5] = x[:, 1] - x[:, 2]
    g = x.mT @ x
    right = g @ normal(6, 3, seed=2)
    assert relative(least_norm_solution(g, right), torch.linalg.pinv(g, hermitian=True) @ right) < 1e-12


def test_dead_inputs_get_zero_and_leave_the_others_alone() -> None:
    x = normal(40, 6, seed=1)
    x[:, [0, 3]] = 0
    g, live = x.mT @ x, [1, 2, 4, 5]
    right = g @ normal(6, 3, seed=2)
    found = least_norm_solution(g, right)
    assert not found[[0, 3]].any()
    assert relative(found[live], torch.linalg.solve(g[live][:, live], right[live])) < 1e-13


def test_dead_inputs_beside_dependent_ones_get_zero() -> None:
    x = normal(3, 6, seed=1)
    x[:, 2] = 0
    g = x.mT @ x
    assert least_norm_solution(g, g @ normal(6, 3, seed=2))[2].abs().max() < 1e-13


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("tokens", [3, 40])
def test_the_scale_of_the_moment_cancels(tokens: int, scale: float) -> None:
    g, right = gram(tokens, 6), gram(tokens, 6) @ normal(6, 3, seed=2)
    assert relative(least_norm_solution(scale * g, scale * right), least_norm_solution(g, right)) < 1e-11


def test_inputs_of_very_different_size_are_all_solved() -> None:
    # Eigenvalues are 1e-16 of each other, far below the floor, while the inputs' correlations are harmless.
    sizes = torch.logspace(-4, 4, 6, dtype=torch.float64)
    g, truth = sizes[:, None] * gram(40, 6) * sizes, normal(6, 5, seed=2)
    found = least_norm_solution(g, g @ truth)
    assert (found - truth).abs().max() < 1e-6  # the right side's rounding, 1e-16 · 1e4, beside an input of 1e-4


@pytest.mark.parametrize("least", [1e-3, 1e-6, 1e-9, 2 * FLOOR])
def test_eigenvalues_above_the_floor_are_solved_to_rounding_over_their_size(least: float) -> None:
    g, _ = with_eigenvalues([1.0, 0.7, 0.2, least])
    truth = normal(4, 3, seed=2)
    assert relative(least_norm_solution(g, g @ truth), truth) < 1e-14 / least


@pytest.mark.parametrize("least", [0.5 * FLOOR, 1e-13, 0.0])
def test_directions_below_the_floor_are_left_out(least: float) -> None:
    g, vectors = with_eigenvalues([1.0, 0.7, 0.2, least])
    noisy = g @ normal(4, 3, seed=2) + 1e-12 * normal(4, 3, seed=3)  # would be multiplied by more than 1e10
    assert (vectors[:, 3] @ least_norm_solution(g, noisy)).abs().max() < 1e-5  # rounding of the vectors themselves


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("least", [0.9, 1e-4, 1e-9, 1e-12])
def test_the_least_eigenvalue_is_seen_in_the_factor(least: float, seed: int) -> None:
    vectors = torch.linalg.qr(normal(30, 30, seed=seed))[0]
    values = torch.cat([torch.linspace(1, 2, 29).double(), torch.tensor([least]).double()])
    factor = torch.linalg.cholesky((vectors * values) @ vectors.mT)
    # never below, but for the rounding of the matrix itself, and not far above
    assert (1 - 1e-3) * least < _least_eigenvalue(factor) < 1.5 * least


def test_a_zero_moment_has_the_zero_solution() -> None:
    zero = torch.zeros(4, 4, dtype=torch.float64)
    assert not least_norm_solution(zero, zero[:, :2]).any()


def test_nothing_that_was_handed_in_is_changed() -> None:
    g, right = gram(40, 6), normal(6, 3, seed=2)
    before = g.clone(), right.clone()
    least_norm_solution(g, right)
    assert torch.equal(g, before[0])
    assert torch.equal(right, before[1])
