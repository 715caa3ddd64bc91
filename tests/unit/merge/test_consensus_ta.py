"""Consensus Task Arithmetic against examples worked by hand and the dense formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from esm_viz.merge import run_now
from esm_viz.merge.consensus_ta import consensus_ta, live_share
from tests.support.tiny import normal
from tests.support.updates import updates_of


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


# Beside the sum of the others, the tasks claim at λ = 0.4, entry by entry:
#   5, 1, 1    5 >= 0.8; 1 < 2.4; 1 < 2.4: one claim
#   3, 2, 0    3 >= 0.8; 2 >= 1.2; 0 < 2: two claims
#   1, 1, 1    1 >= 0.8 each: three claims
#   4, -4, 1   4 >= 1.2; 4 >= 2; 1 >= 0: three claims
#   0, 0, 6    0 < 2.4 twice; 6 >= 0: one claim
A, B, C = row(5, 3, 1, 4, 0), row(1, 2, 1, -4, 0), row(1, 0, 1, 1, 6)


def test_entries_that_two_tasks_claim_are_summed_and_the_others_left() -> None:
    assert torch.equal(consensus_ta(updates_of(A, B, C)), row(0, 5, 3, 1, 0))


def test_a_larger_scale_leaves_fewer_claims() -> None:
    # At 0.6: 2 >= 1.8 still claims, 1 >= 1.2 no longer does.
    assert torch.equal(consensus_ta(updates_of(A, B, C), mask_scale=0.6), row(0, 5, 0, 1, 0))


def test_a_smaller_scale_leaves_more_claims() -> None:
    # At 0.2 beside 6 the ones of the first entry fall short, beside 4 they would not.
    assert torch.equal(consensus_ta(updates_of(A, B, C), mask_scale=0.2), row(0, 5, 3, 1, 0))
    assert torch.equal(consensus_ta(updates_of(A[:, :1] - 1, B[:, :1], C[:, :1]), mask_scale=0.2), row(6))


@pytest.mark.parametrize("mask_scale", [0.2, 0.4, 0.6])
def test_a_task_that_is_alone_agrees_with_itself(mask_scale: float) -> None:
    assert torch.equal(consensus_ta(updates_of(A), mask_scale=mask_scale), A)


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, 1e-30, 1e30])
def test_equal_tasks_on_the_edge_claim_whatever_the_rounding(value: float) -> None:
    # |x| >= 0.5 · |2 x| holds, though 3 x - x may round to either side of 2 x.
    deltas = [row(value, -value, 1.1 * value)] * 3
    assert consensus_ta(updates_of(*deltas), mask_scale=0.5).ne(0).all()


def test_a_weight_scales_a_change_before_it_claims() -> None:
    found = consensus_ta(updates_of(A, B, C, weights=(1.0, 2.0, 0.5)))
    assert torch.equal(found, consensus_ta(updates_of(A, 2 * B, 0.5 * C)))


def test_nothing_moved_merges_to_nothing() -> None:
    assert not consensus_ta(updates_of(*[torch.zeros(2, 3, dtype=torch.float64)] * 3)).any()


@pytest.mark.parametrize("mask_scale", [0.2, 0.35, 0.6])
def test_it_is_the_dense_formula(mask_scale: float) -> None:
    deltas = [(1 + at) * normal(20, 30, seed=at) for at in range(4)]
    stack = torch.stack(deltas)
    claimed = stack.abs() >= mask_scale * (stack.sum(0) - stack).abs()
    truth = torch.where(claimed.sum(0) >= 2, stack.sum(0), 0.0)
    found = consensus_ta(updates_of(*deltas), mask_scale=mask_scale)
    assert 0.1 < (truth != 0).double().mean() < 0.95
    assert (found - truth).abs().max() < 1e-14  # sums of four


def test_the_live_share_counts_the_entries_that_are_claimed() -> None:
    assert live_share(updates_of(A, B, C), run_now, 0.4) == {"mask_scale": (0.6, 0.6)}
    assert live_share(updates_of(A), run_now, 0.4) == {"mask_scale": (1.0, 1.0)}
