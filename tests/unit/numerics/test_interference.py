"""Interference from second moments against the direct computation on tokens."""

from __future__ import annotations

import math

import pytest
import torch

from esm_viz.numerics import interference as module
from esm_viz.numerics.interference import Pull, direction, interference, pull, pulls, shift, size, worth_halves
from esm_viz.numerics.second_moments import Moment, half_moment
from tests.support.tiny import normal

X, OWN, MERGED = normal(30, 6, seed=1), normal(5, 6, seed=2), normal(5, 6, seed=3)


def measured(merged: torch.Tensor, own: torch.Tensor) -> Pull:
    """Return a, b, c from second moments alone, the same whether M or X itself is at hand."""
    square, rows = Moment(X.mT @ X, len(X), X.mean(0)), Moment(None, len(X), X.mean(0), X)
    shifts = [shift(own, square), shift(own, rows), shift(own, rows)]
    found, *others = pulls(merged, shifts, [square, rows, half_moment(rows)])
    for other in others:
        assert found == pytest.approx(other, rel=1e-12)
    assert pull(merged, merged.mT @ merged, shifts[0], square) == pytest.approx(found, rel=1e-12)
    return found


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 2.5])
def test_it_is_the_relative_error_on_the_tasks_own_tokens(scale: float) -> None:
    direct = (X @ (scale * MERGED - OWN).mT).square().sum() / (X @ OWN.mT).square().sum()
    found = interference(measured(MERGED, OWN), scale)
    assert found == pytest.approx(float(direct), rel=1e-12)  # 30 tokens, condition of the sums below 1e3


def test_the_tasks_own_change_leaves_nothing() -> None:
    # a − 2b + c with a = b = c up to the order of 30 float64 sums
    assert interference(measured(OWN, OWN), 1.0) == pytest.approx(0.0, abs=1e-14)


def test_no_change_is_as_far_off_as_not_merging() -> None:
    assert interference(measured(torch.zeros_like(OWN), OWN), 1.0) == 1.0


def test_rounding_never_makes_it_negative() -> None:
    assert interference(Pull(1.0, 1.0 + 1e-16, 1.0 - 1e-16), 1.0) >= 0.0


def test_a_task_that_moved_nothing_has_no_interference_to_speak_of() -> None:
    assert math.isnan(interference(measured(MERGED, torch.zeros_like(OWN)), 1.0))


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_it_is_made_of_direction_and_size(scale: float) -> None:
    found = measured(MERGED, OWN)
    a, b = X @ MERGED.mT, X @ OWN.mT
    c, s = float((a * b).sum() / (a.norm() * b.norm())), float(scale * a.norm() / b.norm())
    assert (direction(found), size(found, scale)) == (pytest.approx(c, rel=1e-12), pytest.approx(s, rel=1e-12))
    assert interference(found, scale) == pytest.approx(1 - 2 * s * c + s * s, rel=1e-12)


def test_direction_and_size_of_what_did_not_move() -> None:
    still, nothing = measured(torch.zeros_like(OWN), OWN), measured(MERGED, torch.zeros_like(OWN))
    assert math.isnan(direction(still))
    assert size(still, 1.0) == 0.0
    assert math.isnan(direction(nothing))
    assert math.isnan(size(nothing, 1.0))


def test_direction_never_leaves_its_range() -> None:
    assert direction(Pull(1.0, 1.0 + 1e-15, 1.0)) == 1.0


# Every form of a moment, against float64 sums over tokens.

D_OUT, D_IN = 9, 700  # so wide that symmetric products are made of blocks


def tokens(kind: str) -> torch.Tensor:
    """Return float32 inputs as a forward pass gives them."""
    x = {"few": normal(40, D_IN, seed=4), "many": normal(900, D_IN, seed=4), "one": normal(1, D_IN, seed=4)}.get(kind)
    if kind == "equal":  # rank 1, as the class tokens of the first block
        x = normal(1, D_IN, seed=4).repeat(40, 1)
    elif kind == "unequal":  # singular values from 1 to 1e-6
        x = normal(900, D_IN, seed=4) * torch.logspace(0, -6, D_IN, dtype=torch.float64)
    elif kind == "unseen mean":  # 100 times longer than what the tokens differ by, in a direction without change
        x = normal(900, D_IN, seed=4)
        x[:, 0] += 100 * math.sqrt(D_IN)
    assert x is not None
    return x.float()


@pytest.mark.parametrize("form", ["square", "rows", "half"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("kind", ["few", "many", "one", "equal", "unequal", "unseen mean"])
def test_each_form_of_a_moment_gives_the_sums_over_tokens(kind: str, dtype: torch.dtype, form: str) -> None:
    x = tokens(kind)
    own, merged = (normal(D_OUT, D_IN, seed=seed).to(dtype).double() for seed in (5, 6))
    if kind == "unseen mean":
        own[:, 0] = merged[:, 0] = 0
    rows = Moment(None, len(x), x.double().mean(0), x)
    moment = {"square": Moment(x.double().mT @ x.double(), len(x), rows.mean), "rows": rows, "half": half_moment(rows)}
    (found,) = pulls(merged, [shift(own, rows)], [moment[form]])
    a, b = x.double() @ merged.mT, x.double() @ own.mT
    truth = Pull(float(a.square().sum()), float((a * b).sum()), float(b.square().sum()))
    # The bound asked for is 1e-7. Float64 keeps 1e-12; where a mean cancels that is 1e4 times more than all that stays,
    # 1e-16 x 1e4 x the terms of a sum. The same products in float32 are wrong by 1e-4 there.
    assert found.merged == pytest.approx(truth.merged, rel=1e-10)
    assert found.own == pytest.approx(truth.own, rel=1e-10)
    assert abs(found.shared - truth.shared) < 1e-10 * math.sqrt(truth.merged * truth.own)
    for scale in (0.3, 1.0):
        direct = float((scale * a - b).square().sum()) / truth.own
        assert interference(found, scale) == pytest.approx(direct, rel=1e-9)
    still = pulls(torch.zeros_like(merged), [shift(own, rows)], [moment[form]])[0]
    assert (still.merged, still.shared) == (0.0, 0.0)
    assert interference(still, 1.0) == 1.0


def test_a_product_is_formed_only_for_moments_that_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    formed: list[str] = []
    for name in ("gram", "half_gram"):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda of, name=name, real=real: (formed.append(name), real(of))[1])
    square, rows = Moment(X.mT @ X, len(X), X.mean(0)), Moment(None, len(X), X.mean(0), X)
    own = shift(OWN, rows)
    for moments, wanted in (
        ([rows, rows], []),
        ([square, square, rows], ["gram"]),
        ([half_moment(rows), rows], ["half_gram"]),
        ([half_moment(rows), square], ["gram", "half_gram"]),
    ):
        formed.clear()
        pulls(MERGED, [own] * len(moments), moments)
        assert formed == wanted


@pytest.mark.parametrize(("counts", "worth"), [([5, 6], False), ([6, 6], True), ([12], True), ([11], False)])
def test_halves_are_worth_it_from_twice_as_many_tokens_as_inputs(counts: list[int], worth: bool) -> None:
    kept = [Moment(None, count, X.mean(0), X[:count]) for count in counts]
    assert worth_halves(kept) is worth
    square = Moment(X.mT @ X, len(X), X.mean(0))
    assert worth_halves([*kept, square, square]) is worth  # tokens of which M is there already do not count
    assert worth_halves([square]) is False
