"""Interference from second moments against the direct computation on tokens."""

from __future__ import annotations

import math

import pytest
import torch

from esm_viz.numerics.interference import Pull, direction, interference, pull, shift, size
from esm_viz.numerics.second_moments import Moment
from tests.support.tiny import normal

X, OWN, MERGED = normal(30, 6, seed=1), normal(5, 6, seed=2), normal(5, 6, seed=3)


def measured(merged: torch.Tensor, own: torch.Tensor) -> Pull:
    """Return a, b, c from second moments alone, the same whether M or X itself is at hand."""
    square, rows = Moment(X.mT @ X, len(X), X.mean(0)), Moment(None, len(X), X.mean(0), X)
    found, other = (pull(merged, merged.mT @ merged, shift(own, moment), moment) for moment in (square, rows))
    assert found == pytest.approx(other, rel=1e-12)
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
