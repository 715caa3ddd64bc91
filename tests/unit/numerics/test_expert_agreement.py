"""Agreement with an expert against definitions written out, and its intervals against draws written out."""

from __future__ import annotations

import math

import pytest
import torch

from esm_viz.numerics.expert_agreement import DRAWS, bootstrapped, direction, divergence, mean_of


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_divergence_is_that_of_the_predicted_probabilities(scale: float) -> None:
    expert, merged = normal(6, 5, scale=scale), normal(6, 5, seed=1, scale=scale)
    p, q = (logits.double().softmax(1) for logits in (expert, merged))
    truth = (p * (p / q).log()).nan_to_num(0.0).sum(1)
    assert torch.allclose(divergence(expert, merged), truth, rtol=1e-9, atol=1e-12)


def test_divergence_of_equal_logits_is_zero_and_never_below() -> None:
    logits = normal(4, 7, scale=100)
    assert divergence(logits, logits + 3.0).tolist() == pytest.approx([0.0] * 4, abs=1e-5)  # a shift changes nothing
    assert float(divergence(logits, logits).min()) == 0.0


def test_direction_is_the_cosine_of_both_changes() -> None:
    base = normal(3, 4)
    expert = base + torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]])
    merged = base + torch.tensor([[3.0, 0, 0, 0], [1, -1, 0, 0], [1, 0, 0, 0]])
    found = direction(expert, merged, base).tolist()
    assert found[:2] == pytest.approx([1.0, -math.sqrt(0.5)], abs=1e-6)
    assert math.isnan(found[2])  # the expert changed nothing there


def test_an_unchanged_image_has_direction_zero() -> None:
    base = normal(2, 4)
    assert direction(base + 1, base, base).tolist() == [0.0, 0.0]


def test_the_interval_holds_the_mean_and_is_that_of_its_draws() -> None:
    values = normal(32, seed=3).double()
    found = bootstrapped(values, seed=5)
    assert found.value == pytest.approx(float(values.mean()))
    low, high = found.limits
    assert low < found.value < high
    inside = ((found.draws >= low) & (found.draws <= high)).double().mean()
    assert float(inside) == pytest.approx(0.95, abs=2 / DRAWS)
    assert high - low == pytest.approx(2 * 1.96 * float(values.std()) / math.sqrt(32), rel=0.15)
    assert bootstrapped(values, seed=5).limits == (low, high)
    assert bootstrapped(values, seed=6).limits != (low, high)


def test_unknown_images_are_left_out_and_none_give_nan() -> None:
    values = torch.tensor([1.0, math.nan, 3.0], dtype=torch.float64)
    assert bootstrapped(values, 0).value == 2.0
    nothing = bootstrapped(torch.full((3,), math.nan, dtype=torch.float64), 0)
    assert math.isnan(nothing.value)
    assert all(math.isnan(end) for end in nothing.limits)


def test_the_mean_of_tasks_leaves_out_unknown_ones_and_is_narrower_than_each() -> None:
    tasks = [bootstrapped(normal(32, seed=seed).double(), seed) for seed in range(4)]
    nothing = bootstrapped(torch.full((3,), math.nan, dtype=torch.float64), 9)
    found = mean_of([*tasks, nothing])
    assert found.value == pytest.approx(sum(task.value for task in tasks) / 4)
    widths = [task.limits[1] - task.limits[0] for task in tasks]
    assert found.limits[1] - found.limits[0] == pytest.approx(sum(widths) / 4 / 2, rel=0.2)
    assert math.isnan(mean_of([nothing]).value)
