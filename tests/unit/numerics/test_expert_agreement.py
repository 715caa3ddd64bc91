"""Agreement with an expert against definitions written out, and its intervals against draws written out."""

from __future__ import annotations

import math

import pytest
import torch

from esm_viz.numerics.expert_agreement import (
    DRAWS,
    PRIOR_IMAGES,
    bootstrapped,
    change_metric,
    direction,
    divergence,
    match,
    mean_of,
)


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


def unit(features: torch.Tensor) -> torch.Tensor:
    return features.double() / features.double().norm(dim=1, keepdim=True)


def two_classes(images: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of a base and of an expert that tells every other image apart along direction 1 alone."""
    base = normal(images, width)
    base[:, 0] += 9.0
    expert = base.clone()
    expert[::2, 1] += 2.0
    expert[1::2, 1] -= 2.0
    return expert, base


@pytest.mark.parametrize(("images", "width"), [(2, 6), (32, 5), (8, 24)])
def test_the_metric_is_the_root_of_the_changes_covariance_with_what_stands_in_for_more_images(
    images: int, width: int
) -> None:
    base, expert = normal(images, width), normal(images, width, seed=1)
    covariance = torch.cov((unit(expert) - unit(base)).mT, correction=0)
    truth = images * covariance + PRIOR_IMAGES * covariance.trace() / width * torch.eye(width, dtype=torch.float64)
    found = change_metric(expert, base)
    squared = found @ found
    assert torch.allclose(squared / squared.trace(), truth / truth.trace(), atol=1e-12)
    assert float(torch.linalg.eigvalsh(found).min()) > 0
    assert float(found.trace()) == pytest.approx(width)


def test_the_metric_weighs_most_where_images_were_changed_differently() -> None:
    expert, base = two_classes(32, 4)
    expert[:, 2] += 2.0  # all alike
    weights = change_metric(expert, base).diagonal()
    assert int(weights.argmax()) == 1
    assert float(weights[1]) > 1.5 * float(weights[2])


def test_match_is_the_cosine_under_the_metric() -> None:
    expert, merged, root = normal(5, 4), normal(5, 4, seed=1), normal(4, 4, seed=2).double()
    own, now, metric = expert.double() @ root, merged.double() @ root, root @ root.mT
    truth = (own * now).sum(1) / own.norm(dim=1) / now.norm(dim=1)
    assert torch.allclose(match(expert, merged, metric), truth, atol=1e-12)
    assert torch.allclose(match(expert, 7 * merged, metric), truth, atol=1e-7)  # lengths do not count
    assert match(expert, -expert, metric).tolist() == pytest.approx([-1.0] * 5)


def test_an_error_where_the_expert_told_images_apart_costs_more_than_one_elsewhere() -> None:
    expert, base = two_classes(32, 6)
    metric, steps = change_metric(expert, base), torch.eye(6)
    told_apart, elsewhere = (float(match(expert, expert + steps[at], metric).mean()) for at in (1, 4))
    assert told_apart < elsewhere < 1.0


def test_where_images_are_not_changed_differently_the_match_is_the_plain_cosine() -> None:
    base, merged, plain = normal(32, 4), normal(32, 4, seed=1), torch.eye(4, dtype=torch.float64)
    assert torch.equal(change_metric(base, base), plain)  # an unchanged expert
    assert torch.equal(change_metric(base[:1] + 1, base[:1]), plain)  # one image
    cosine = torch.nn.functional.cosine_similarity(merged.double(), base.double())
    assert torch.allclose(match(base, merged, plain), cosine, atol=1e-12)


def test_unknown_features_have_no_match() -> None:
    base, plain = normal(3, 4), torch.eye(4, dtype=torch.float64)
    broken = base.clone()
    broken[1, 2] = math.nan
    assert change_metric(broken, base).isnan().all()
    assert match(base, broken, plain).isnan().tolist() == [False, True, False]
    assert match(torch.zeros(3, 4), base, plain).isnan().all()
    assert match(base, torch.zeros(3, 4), plain).tolist() == [0.0] * 3


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
