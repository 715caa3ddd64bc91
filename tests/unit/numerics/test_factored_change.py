"""Work on the factors of a change against the same work on the matrix, and both against float64 truth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from esm_viz.core.errors import NumericsError
from esm_viz.numerics.essential_subspace_decomposition import esd, esd_of_factors, svd_basis
from esm_viz.numerics.factored_change import FactoredChange, is_thin, no_change
from esm_viz.numerics.gram_svd import Singular, singular, singular_of_product
from esm_viz.numerics.interference import shift, shift_of_factors
from esm_viz.numerics.second_moments import Moment, MomentSum
from tests.support.tiny import normal, relative

# Tall, wide and square ΔW; more tokens than both sides, fewer, fewer than r, and one.
SHAPES = [(60, 20, 200), (20, 60, 200), (40, 40, 200), (60, 20, 10), (20, 60, 10), (40, 40, 2), (40, 40, 1)]
RANK = 4


def factored(d_out: int, d_in: int, rank: int = RANK, seed: int = 1) -> FactoredChange:
    return FactoredChange(normal(d_out, rank, seed=seed), normal(rank, d_in, seed=seed + 1), (d_out, d_in))


def moments(x: Tensor) -> tuple[Moment, Moment]:
    return Moment(x.mT @ x, len(x), x.mean(0)), Moment(None, len(x), x.mean(0), x)


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize(("d_out", "d_in", "n"), SHAPES)
def test_esd_by_factors_is_that_of_the_matrix(d_out: int, d_in: int, n: int, kept: int) -> None:
    change, x = factored(d_out, d_in), normal(n, d_in, seed=3)
    moment = moments(x)[kept]
    truth = torch.linalg.svdvals(x @ change.dense().mT).square() / max(n - 1, 1)
    found, dense = esd_of_factors(change, moment), esd(change.dense(), moment)
    live = min(RANK, n)
    assert found.eigenvalues.shape == dense.eigenvalues.shape
    assert found.vectors.shape == (d_out, live)
    assert ((found.eigenvalues[:live] - truth[:live]) / truth[:live]).abs().max() < 1e-9
    assert torch.equal(found.eigenvalues[RANK:], torch.zeros(min(d_out, d_in) - RANK))
    assert (found.vectors.mT @ found.vectors - torch.eye(live)).abs().max() < 1e-12
    signs = (found.vectors * dense.vectors[:, :live]).sum(0)
    assert (signs.abs() - 1).abs().max() < 1e-9


def test_only_the_asked_directions_are_returned_and_all_eigenvalues() -> None:
    change, x = factored(40, 40), normal(200, 40, seed=3)
    for moment in (*moments(x), None):
        found = esd_of_factors(change, moment, 2)
        assert found.vectors.shape == (40, 2)
        assert int((found.eigenvalues > 0).sum()) == RANK


def test_equal_columns_of_a_factor_leave_one_direction() -> None:
    one = normal(40, 1, seed=1)
    change = FactoredChange(one.expand(40, RANK).contiguous(), normal(RANK, 20, seed=2), (40, 20))
    for moment in moments(normal(200, 20, seed=3)):
        vectors = esd_of_factors(change, moment).vectors
        assert vectors.shape == (40, 1)
        assert abs(float(vectors[:, 0] @ one[:, 0] / one.norm())) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_extreme_sizes_stay_in_range(scale: float) -> None:
    change, x = factored(40, 40), normal(200, 40, seed=3)
    scaled = change._replace(left=change.left * scale)
    for moment in moments(x):
        plain, found = esd_of_factors(change, moment).eigenvalues, esd_of_factors(scaled, moment).eigenvalues
        assert relative(found / scale / scale, plain) < 1e-12


def test_without_moments_they_are_the_singular_vectors_of_the_matrix() -> None:
    change = factored(60, 20)
    found, dense = esd_of_factors(change, None), svd_basis(change.dense())
    assert relative(found.eigenvalues, dense.eigenvalues) < 1e-12
    signs = (found.vectors * dense.vectors[:, :RANK]).sum(0)
    assert (signs.abs() - 1).abs().max() < 1e-9


@pytest.mark.parametrize(("m", "n"), [(60, 20), (20, 60), (40, 40)])
def test_singular_vectors_of_a_product_are_those_of_the_matrix(m: int, n: int) -> None:
    change = factored(m, n)
    change.left[:, 3] *= 1e-6  # a wide spectrum
    found, dense = singular_of_product(change.left, change.right), singular(change.dense())
    assert ((found.values - dense.values) / dense.values).abs().max() < 1e-9
    assert product(found).sub(change.dense()).abs().max() < 1e-13 * found.values[0]
    assert found.values.shape == (RANK,)
    nothing = singular_of_product(*no_change((m, n))[:2])
    assert (nothing.left.shape, nothing.values.shape, nothing.right.shape) == ((m, 0), (0,), (n, 0))


def product(found: Singular) -> Tensor:
    return (found.left * found.values) @ found.right.mT


def test_no_change_has_no_direction_and_needs_no_moment() -> None:
    found, dense = esd_of_factors(no_change((60, 20)), None), svd_basis(torch.zeros(60, 20, dtype=torch.float64))
    assert torch.equal(found.eigenvalues, dense.eigenvalues)
    assert found.vectors.shape == dense.vectors.shape == (60, 0)
    assert torch.equal(no_change((3, 2, 2)).dense(), torch.zeros(3, 2, 2, dtype=torch.float64))
    assert no_change((5,)).dense().shape == (5,)
    assert no_change(()).dense().shape == ()


def test_the_shift_by_factors_is_that_of_the_matrix() -> None:
    change, x = factored(30, 50), normal(40, 50, seed=3)
    for moment in moments(x):
        found, dense = shift_of_factors(change, moment), shift(change.dense(), moment)
        assert relative(found.through, dense.through) < 1e-13
        assert found.energy == pytest.approx(float((x @ change.dense().mT).square().sum()), rel=1e-12)
        nothing = shift_of_factors(no_change((30, 50)), moment)
        assert nothing.energy == 0
        assert torch.equal(nothing.through, torch.zeros(30, 50, dtype=torch.float64))


def test_a_nan_in_a_factor_is_refused() -> None:
    change = factored(40, 40)
    change.left[0, 0] = math.nan
    for moment in moments(normal(50, 40, seed=3)):
        with pytest.raises(NumericsError, match="not finite"):
            esd_of_factors(change, moment)


def test_tokens_are_kept_up_to_two_and_a_half_times_the_width_where_the_change_is_thin() -> None:
    for thin, tokens, rows in ((True, 50, True), (True, 51, False), (False, 19, True), (False, 20, False)):
        total = MomentSum(20, 20, thin=thin)
        total.add(normal(tokens, 20, seed=1))
        assert (total.moment().rows is not None) is rows


def test_thin_is_a_quarter_of_the_smaller_side() -> None:
    assert is_thin(5, (20, 60))
    assert is_thin(0, (20, 60))
    assert not is_thin(6, (60, 20))
    assert not is_thin(1, (60, 20, 3))
