"""ESD against float64 truth: eigenvalues of the dense output shift, and the closed forms around it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from esm_viz.core.errors import NumericsError
from esm_viz.numerics import essential_subspace_decomposition
from esm_viz.numerics.essential_subspace_decomposition import esd, esd_of_all, functional_energies, svd_basis
from esm_viz.numerics.second_moments import Moment, MomentSum
from tests.support.errors import says
from tests.support.tiny import normal

# Tall, wide and square ΔW; more tokens than both sides, fewer than either, and one.
SHAPES = [(12, 5, 40), (5, 12, 40), (8, 8, 40), (12, 5, 3), (5, 12, 3), (8, 8, 1), (7, 6, 7)]
# eigh is backward stable: its errors are some 1e-15 of λ_1, and a test of every λ allows a hundred times that.
OF_LARGEST = 1e-13


def moment_of(x: Tensor) -> Moment:
    return Moment(x.mT @ x, len(x), x.mean(0))


def shift_eigenvalues(delta: Tensor, x: Tensor) -> Tensor:
    """Return λ the direct way: squared singular values of ΔO = X ΔWᵀ over (n − 1), no Gram matrix anywhere."""
    return torch.linalg.svdvals(x @ delta.mT).square() / max(len(x) - 1, 1)


@pytest.mark.parametrize(("d_out", "d_in", "n"), SHAPES)
def test_eigenvalues_are_those_of_the_dense_output_shift(d_out: int, d_in: int, n: int) -> None:
    delta, x = normal(d_out, d_in, seed=1), normal(n, d_in, seed=2)
    truth = shift_eigenvalues(delta, x)
    found = esd(delta, moment_of(x)).eigenvalues
    k = min(len(truth), len(found))
    assert (found[:k] - truth[:k]).abs().max() < OF_LARGEST * truth[0]
    assert found[k:].abs().sum() < OF_LARGEST * truth[0]


@pytest.mark.parametrize(("d_out", "d_in", "n"), SHAPES)
def test_directions_are_orthonormal(d_out: int, d_in: int, n: int) -> None:
    vectors = esd(normal(d_out, d_in, seed=1), moment_of(normal(n, d_in, seed=2))).vectors
    assert vectors.shape == (d_out, min(d_out, d_in, n))  # what no token moves has no direction
    assert (vectors.mT @ vectors - torch.eye(vectors.shape[1])).abs().max() < 1e-13  # rounding of 12 terms


@pytest.mark.parametrize(("d_out", "d_in", "n"), SHAPES)
@pytest.mark.parametrize("rank", [1, 3])
def test_what_rank_r_leaves_out_is_the_sum_of_the_other_eigenvalues(d_out: int, d_in: int, n: int, rank: int) -> None:
    delta, x = normal(d_out, d_in, seed=3), normal(n, d_in, seed=4)
    eigenvalues, vectors = esd(delta, moment_of(x))
    essential = vectors[:, :rank]
    residual = (x @ (delta - essential @ (essential.mT @ delta)).mT).square().sum()
    total = (x @ delta.mT).square().sum()
    assert abs(residual - max(n - 1, 1) * eigenvalues[rank:].sum()) < 1e-12 * total  # a sum of at most 500 squares


def test_no_other_rank_r_projection_leaves_out_less() -> None:
    delta, x = normal(9, 7, seed=5), normal(30, 7, seed=6) @ torch.diag(torch.logspace(0, -2, 7, dtype=torch.float64))
    moment, rank = moment_of(x), 3
    best = esd(delta, moment).eigenvalues[:rank].sum()
    for seed in range(20):
        basis = torch.linalg.qr(normal(9, rank, seed=seed))[0]
        assert functional_energies(basis, delta, moment).sum() < best
    assert functional_energies(svd_basis(delta).vectors[:, :rank], delta, moment).sum() < best


@pytest.mark.parametrize(("d_out", "d_in"), [(12, 5), (5, 12), (8, 8)])
def test_white_inputs_make_esd_the_svd(d_out: int, d_in: int) -> None:
    delta = normal(d_out, d_in, seed=7)
    n = 10
    found = esd(delta, Moment(torch.eye(d_in, dtype=torch.float64) * (n - 1), n, torch.zeros(d_in)))
    u, s, _ = torch.linalg.svd(delta, full_matrices=False)
    assert (found.eigenvalues - s.square()).abs().max() < OF_LARGEST * s[0] ** 2
    assert (found.vectors.mT @ u).abs().diagonal().min() > 1 - 1e-9  # gaps of random spectra are far above 1e-5


def test_svd_basis_holds_squared_singular_values() -> None:
    delta = normal(6, 11, seed=8)
    s = torch.linalg.svdvals(delta)
    assert (svd_basis(delta).eigenvalues - s.square()).abs().max() < OF_LARGEST * s[0] ** 2


def test_functional_energies_of_the_esd_basis_are_its_eigenvalues() -> None:
    delta, x = normal(9, 7, seed=9), normal(30, 7, seed=10)
    eigenvalues, vectors = esd(delta, moment_of(x))
    energies = functional_energies(vectors, delta, moment_of(x))
    assert (energies - eigenvalues).abs().max() < OF_LARGEST * eigenvalues[0]


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_comes_back_squared_without_underflow_or_overflow(scale: float) -> None:
    delta, x = normal(6, 4, seed=11), normal(20, 4, seed=12)
    plain, scaled = (esd(delta * factor, moment_of(x)).eigenvalues for factor in (1.0, scale))
    assert (scaled / scale**2 - plain).abs().max() < OF_LARGEST * plain[0]


def test_a_zero_update_has_zero_eigenvalues_and_no_directions() -> None:
    found = esd(torch.zeros(6, 4, dtype=torch.float64), moment_of(normal(20, 4, seed=1)))
    assert found.eigenvalues.tolist() == [0.0] * 4
    assert found.vectors.shape == (6, 0)


def test_inputs_that_are_all_zero_give_zero_eigenvalues() -> None:
    found = esd(normal(6, 4, seed=1), moment_of(torch.zeros(20, 4, dtype=torch.float64)))
    assert found.eigenvalues.tolist() == [0.0] * 4


def test_eigenvalues_are_never_negative_although_few_tokens_leave_rounding() -> None:
    assert (esd(normal(50, 30, seed=2), moment_of(normal(2, 30, seed=3))).eigenvalues >= 0).all()


def test_one_token_divides_by_one() -> None:
    delta, x = normal(6, 4, seed=13), normal(1, 4, seed=14)
    energy = (x @ delta.mT).square().sum()
    assert abs(esd(delta, moment_of(x)).eigenvalues[0] - energy) < 1e-12 * energy


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_change_that_is_not_finite_is_refused(bad: float) -> None:
    delta = normal(6, 4, seed=1)
    delta[2, 3] = bad
    with says(NumericsError, "the change of this layer is not finite, check the checkpoint for NaN or Inf"):
        esd(delta, moment_of(normal(5, 4, seed=2)))


def test_a_second_moment_that_is_not_finite_is_refused() -> None:
    moment = Moment(torch.full((4, 4), torch.nan, dtype=torch.float64), 5, torch.zeros(4))
    text = "the second moment of this layer is not finite, check the proxies and the checkpoint"
    with says(NumericsError, text):
        esd(normal(6, 4, seed=1), moment)


@pytest.mark.parametrize(("d_out", "d_in", "n"), SHAPES)
def test_several_tasks_in_one_call_are_each_what_they_are_alone(
    monkeypatch: pytest.MonkeyPatch, d_out: int, d_in: int, n: int
) -> None:
    """As on a GPU, where products and eigenproblems of one size are one batch; one of the tasks moved nothing."""
    deltas = [normal(d_out, d_in, seed=1), torch.zeros(d_out, d_in, dtype=torch.float64), normal(d_out, d_in, seed=2)]
    moments = [moment_of(normal(n, d_in, seed=10 + at)) for at in range(3)]
    monkeypatch.setattr(essential_subspace_decomposition, "_batched", of_one_shape)
    assert_each_as_alone(deltas, moments)


def of_one_shape(tensors: Sequence[Tensor]) -> bool:
    """Say what goes as one batch on a GPU."""
    return len({one.shape for one in tensors}) == 1


def assert_each_as_alone(deltas: list[Tensor], moments: list[Moment]) -> None:
    for found, delta, moment in zip(esd_of_all(deltas, moments), deltas, moments, strict=True):
        truth = esd(delta, moment)
        assert found.vectors.shape == truth.vectors.shape
        assert found.eigenvalues.shape == truth.eigenvalues.shape
        assert (found.eigenvalues - truth.eigenvalues).abs().max() <= OF_LARGEST * truth.eigenvalues[0]
        projections = (basis @ basis.mT for basis in (found.vectors, truth.vectors))
        assert (next(projections) - next(projections)).abs().max() < 1e-9  # spectra's gaps cost some digits


# Token counts around d_out, around d_in and around both, in both orders, some of them equal: what has fewer tokens than
# d_out has a tall shift, and the tasks of one layer need not agree in that.
COUNTS = [(100, 40), (40, 100), (64, 40, 100), (40, 40, 100, 100), (1, 200, 63, 64, 65)]


@pytest.mark.parametrize("as_rows", [False, True], ids=["moments", "tokens"])
@pytest.mark.parametrize("batched", [False, True], ids=["one by one", "in batches"])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize(("d_out", "d_in"), [(64, 128), (128, 64), (64, 64)])
def test_tasks_of_unequal_token_counts_are_each_what_they_are_alone(
    monkeypatch: pytest.MonkeyPatch, d_out: int, d_in: int, counts: tuple[int, ...], batched: bool, as_rows: bool
) -> None:
    tokens = [normal(count, d_in, seed=10 + at) for at, count in enumerate(counts)]
    deltas = [normal(d_out, d_in, seed=1 + at) for at in range(len(counts))]
    moments = [Moment(None, len(x), x.mean(0), x) if as_rows else moment_of(x) for x in tokens]
    if batched:
        monkeypatch.setattr(essential_subspace_decomposition, "_batched", of_one_shape)
    assert_each_as_alone(deltas, moments)
    for found, delta, x in zip(esd_of_all(deltas, moments), deltas, tokens, strict=True):
        assert found.vectors.shape == (d_out, min(d_out, d_in, len(x)))
        truth = shift_eigenvalues(delta, x)
        k = min(len(truth), len(found.eigenvalues))
        assert (found.eigenvalues[:k] - truth[:k]).abs().max() < OF_LARGEST * truth[0]


@pytest.mark.parametrize("tokens", [600, 40])
def test_large_layers_have_the_shift_of_small_ones(tokens: int) -> None:
    """Products with a triangular square root of M are blocked from 512 on; of 40 tokens M has no such root."""
    delta, x = normal(700, 520, seed=1), normal(tokens, 520, seed=2)
    truth = shift_eigenvalues(delta, x)
    found = esd(delta, moment_of(x)).eigenvalues
    k = min(len(truth), len(found))
    assert (found[:k] - truth[:k]).abs().max() < OF_LARGEST * truth[0]


@pytest.mark.parametrize("tokens", [100, 2500, 5200])
def test_wide_layers_keep_tokens_or_their_sums_and_have_the_same_shift(tokens: int) -> None:
    """From 2048 inputs on a layer keeps X itself up to 2.5 tokens an input; beyond, XᵀX with a blocked product."""
    d_out, d_in = 48, 2048
    x, delta = normal(tokens, d_in, seed=1, dtype=torch.float32), normal(d_out, d_in, seed=2)
    total = MomentSum(d_in, d_out)
    for part in x.split(700):
        total.add(part)
    moment = total.moment()
    assert (moment.square is None) == (tokens <= 5120)
    found, truth = esd(delta, moment), shift_eigenvalues(delta, x.double())
    k = min(len(truth), len(found.eigenvalues))
    assert (found.eigenvalues[:k] - truth[:k]).abs().max() < OF_LARGEST * truth[0]
    assert found.vectors.shape == (d_out, min(d_out, tokens))
