"""Second moments summed in batches against the dense product."""

from __future__ import annotations

import torch

from esm_viz.numerics.second_moments import MomentSum
from tests.support.tiny import normal


def test_batches_sum_to_the_dense_second_moment() -> None:
    batches = [normal(4, 3, 5, seed=1), normal(1, 3, 5, seed=2)]
    x = torch.cat([batch.reshape(-1, 5) for batch in batches])
    total = MomentSum(5)
    for batch in batches:
        total.add(batch)
    found = total.moment()
    assert (found.matrix - x.mT @ x).abs().max() < 1e-13  # 15 products of about 1
    assert found.tokens == 15
    assert (found.mean - x.mean(0)).abs().max() < 1e-15


def test_float32_inputs_are_summed_in_float64() -> None:
    # 1e8 + 1 is 1e8 in float32, where the sum of these two squares would lose the second.
    total = MomentSum(1)
    total.add(torch.tensor([[1e4], [1.0]], dtype=torch.float32))
    assert total.moment().matrix.item() == 1e8 + 1


def test_adding_one_token_at_a_time_is_the_same_as_all_at_once() -> None:
    x = normal(30, 4, seed=3)
    whole, single = MomentSum(4), MomentSum(4)
    whole.add(x)
    for token in x:
        single.add(token)
    assert (whole.moment().matrix - single.moment().matrix).abs().max() < 1e-13
    assert whole.moment().tokens == single.moment().tokens


def test_nothing_added_is_a_zero_moment_of_no_tokens() -> None:
    found = MomentSum(3).moment()
    assert not found.matrix.any()
    assert not found.mean.any()
    assert found.tokens == 0
