"""RegMean as what it is: the minimiser of a sum of squares, seen from the tokens and from the interference meter."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from esm_viz.merge import LayerUpdate
from esm_viz.merge.regmean import regmean
from esm_viz.numerics.essential_subspace_decomposition import esd
from esm_viz.numerics.interference import interference, pull, shift
from esm_viz.numerics.second_moments import Moment
from esm_viz.project.project import Project
from tests.support.tiny import OUT_PROJ, TASKS, normal, recipe, relative

D_OUT, D_IN = 5, 8
TOKENS = (40, 25, 60)  # a task: n_t must matter


def update(delta: Tensor, x: Tensor, weight: float = 1.0) -> LayerUpdate:
    moment = Moment(x.mT @ x, len(x), x.mean(0))
    return LayerUpdate(tuple(delta.shape), lambda: delta, lambda: moment, lambda: esd(delta, moment), weight)


def inputs(tokens: tuple[int, ...] = TOKENS) -> list[Tensor]:
    mixed = normal(D_IN, D_IN, seed=70)  # inputs that are correlated
    return [normal(n, D_IN, seed=60 + at) @ (mixed + at) for at, n in enumerate(tokens)]


def changes() -> list[Tensor]:
    return [(0.5 + at) * normal(D_OUT, D_IN, seed=at) for at in range(len(TOKENS))]


def updates_of(deltas: list[Tensor], xs: list[Tensor]) -> list[LayerUpdate]:
    return [update(delta, x) for delta, x in zip(deltas, xs, strict=True)]


def error(merged: Tensor, deltas: list[Tensor], xs: list[Tensor]) -> Tensor:
    """Return Σ_t ‖X_t (ΔW − ΔW_t)ᵀ‖_F² / n_t from the tokens themselves."""
    terms = [(x @ (merged - delta).mT).square().sum() / len(x) for delta, x in zip(deltas, xs, strict=True)]
    return torch.stack(terms).sum()


def stacked(deltas: list[Tensor], xs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the same as one least-squares problem: the minimiser of ‖A ΔWᵀ − B‖_F²."""
    left = torch.cat([x / len(x) ** 0.5 for x in xs])
    right = torch.cat([x @ delta.mT / len(x) ** 0.5 for delta, x in zip(deltas, xs, strict=True)])
    return left, right


# Factor 1: the exact minimiser.


def test_it_is_the_least_squares_solution_of_all_tasks_tokens() -> None:
    left, right = stacked(changes(), inputs())
    truth = torch.linalg.lstsq(left, right, driver="gelsd").solution.mT
    assert relative(regmean(updates_of(changes(), inputs()), off_diagonal=1.0), truth) < 1e-11  # condition 1e2, squared


def test_the_gradient_of_the_error_is_zero_there() -> None:
    deltas, xs = changes(), inputs()
    merged = regmean(updates_of(deltas, xs), off_diagonal=1.0).requires_grad_()
    (gradient,) = torch.autograd.grad(error(merged, deltas, xs), merged)
    start = torch.zeros_like(merged, requires_grad=True)
    (at_zero,) = torch.autograd.grad(error(start, deltas, xs), start)
    assert gradient.norm() < 1e-12 * at_zero.norm()


@pytest.mark.parametrize("size", [1e-5, 1e-2, 1.0])
def test_no_step_from_there_lowers_the_error(size: float) -> None:
    deltas, xs = changes(), inputs()
    merged = regmean(updates_of(deltas, xs), off_diagonal=1.0)
    least = error(merged, deltas, xs)
    for seed in range(20):
        step = normal(D_OUT, D_IN, seed=seed)
        assert error(merged + size * step / step.norm(), deltas, xs) > least


@pytest.mark.parametrize("off_diagonal", [0.0, 0.5, 0.9])
def test_another_factor_fits_the_tokens_less_well(off_diagonal: float) -> None:
    deltas, xs = changes(), inputs()
    exact, other = (regmean(updates_of(deltas, xs), off_diagonal=factor) for factor in (1.0, off_diagonal))
    assert error(other, deltas, xs) > 1.001 * error(exact, deltas, xs)


def test_the_interference_meter_sees_the_same_error() -> None:
    # interference = ‖X_t (ΔW − ΔW_t)ᵀ‖² / c_t with c_t = ‖X_t ΔW_tᵀ‖²: times c_t / n_t it is the term of task t
    deltas, xs = changes(), inputs()
    updates = updates_of(deltas, xs)

    def measured(merged: Tensor) -> float:
        terms = []
        for one in updates:
            own = shift(one.delta, one.moment)
            seen = interference(pull(merged, merged.mT @ merged, own, one.moment), 1.0)
            terms.append(seen * own.energy / one.moment.tokens)
        return sum(terms)

    merged = regmean(updates, off_diagonal=1.0)
    assert measured(merged) == pytest.approx(float(error(merged, deltas, xs)), rel=1e-11)
    assert all(measured(merged + 0.1 * normal(D_OUT, D_IN, seed=seed)) > measured(merged) for seed in range(10))


# Any factor.


@pytest.mark.parametrize("off_diagonal", [0.0, 0.3, 0.9, 1.0])
def test_it_is_the_formula(off_diagonal: float) -> None:
    deltas, xs = changes(), inputs()
    keep = off_diagonal + (1 - off_diagonal) * torch.eye(D_IN, dtype=torch.float64)
    moments = [keep * (x.mT @ x) / len(x) for x in xs]
    pulled = sum(s @ delta.mT for s, delta in zip(moments, deltas, strict=True))
    truth = torch.linalg.solve(sum(moments), pulled).mT
    assert relative(regmean(updates_of(deltas, xs), off_diagonal=off_diagonal), truth) < 1e-11


def test_without_correlations_every_input_is_averaged_by_its_energy() -> None:
    # Two inputs, worked by hand: energies a token 4 and 1 in the first task, 1 and 1 in the second.
    first = torch.tensor([[2.0, 1.0], [2.0, -1.0]]).double()
    second = torch.tensor([[1.0, 1.0]]).double()
    one, two = torch.tensor([[10.0, 2.0]]).double(), torch.tensor([[5.0, 4.0]]).double()
    found = regmean([update(one, first), update(two, second)], off_diagonal=0.0)
    assert torch.allclose(found, torch.tensor([[9.0, 3.0]]).double(), rtol=0, atol=1e-14)


def test_tasks_with_the_same_inputs_are_averaged() -> None:
    deltas, x = changes(), inputs()[0]
    assert relative(regmean(updates_of(deltas, [x] * 3)), sum(deltas) / 3) < 1e-11


def test_one_task_is_that_task() -> None:
    (delta, *_), (x, *_) = changes(), inputs()
    assert relative(regmean([update(delta, x)]), delta) < 1e-11


def test_a_weight_scales_the_change_and_not_the_inputs() -> None:
    deltas, xs = changes(), inputs()
    weighted = [update(deltas[0], xs[0], weight=0.3), *updates_of(deltas[1:], xs[1:])]
    assert relative(regmean(weighted), regmean(updates_of([0.3 * deltas[0], *deltas[1:]], xs))) < 1e-14


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_changes_is_that_of_the_merge(scale: float) -> None:
    deltas, xs = changes(), inputs()
    found = regmean(updates_of([scale * delta for delta in deltas], xs))
    assert relative(found / scale, regmean(updates_of(deltas, xs))) < 1e-13


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_the_inputs_cancels(scale: float) -> None:
    deltas, xs = changes(), inputs()
    found = regmean(updates_of(deltas, [scale * x for x in xs]))
    assert relative(found, regmean(updates_of(deltas, xs))) < 1e-11


# Inputs that say little.


@pytest.mark.parametrize("off_diagonal", [0.0, 0.9, 1.0])
def test_an_input_that_is_always_zero_stays_as_it_was_and_changes_no_other(off_diagonal: float) -> None:
    deltas, xs = changes(), inputs()
    for x in xs:
        x[:, 3] = 0
    live = [0, 1, 2, 4, 5, 6, 7]
    found = regmean(updates_of(deltas, xs), off_diagonal=off_diagonal)
    rest = regmean(
        updates_of([delta[:, live] for delta in deltas], [x[:, live] for x in xs]), off_diagonal=off_diagonal
    )
    assert not found[:, 3].any()
    assert relative(found[:, live], rest) < 1e-11


@pytest.mark.parametrize("tokens", [(1, 1, 1), (2, 1, 3)])
def test_fewer_tokens_than_inputs_give_the_least_norm_that_fits_them_all(tokens: tuple[int, ...]) -> None:
    deltas, xs = changes(), inputs(tokens)
    found = regmean(updates_of(deltas, xs), off_diagonal=1.0)
    left, right = stacked(deltas, xs)
    assert relative(found, torch.linalg.lstsq(left, right, driver="gelsd").solution.mT) < 1e-9  # condition 1e3, squared
    assert error(found, deltas, xs) < 1e-16 * error(torch.zeros_like(found), deltas, xs)


def test_tasks_that_see_nothing_merge_to_nothing() -> None:
    assert not regmean(updates_of(changes(), [torch.zeros_like(x) for x in inputs()])).any()


def test_parameters_without_inputs_to_watch_are_averaged() -> None:
    bare = [LayerUpdate((D_OUT, D_IN), lambda delta=delta: delta) for delta in changes()]
    assert relative(regmean(bare), sum(changes()) / 3) < 1e-15


def test_another_factor_forms_no_product_again() -> None:
    kept: dict[Hashable, Any] = {}

    def memo(stage: str, knobs: tuple[Hashable, ...], compute: Callable[[], Any]) -> Any:
        if (stage, knobs) not in kept:
            kept[stage, knobs] = compute()
        return kept[stage, knobs]

    regmean(updates_of(changes(), inputs()), memo, 0.9)
    unread = [LayerUpdate((D_OUT, D_IN), None, lambda: None) for _ in TOKENS]
    assert relative(regmean(unread, memo, 0.5), regmean(updates_of(changes(), inputs()), off_diagonal=0.5)) < 1e-15


def test_every_layer_of_a_project_has_the_least_error_on_the_proxies(tiny_folder: Path) -> None:
    project = Project.open(recipe(tiny_folder, "regmean", off_diagonal=1.0), device="cpu")
    stages, own = project.stages, project.recipe
    assert OUT_PROJ in {layer.name for layer in project.layers}
    for layer in project.layers:
        merged = stages.merged(own, layer.name, layer).delta
        updates = stages.updates(own, layer.name, layer)
        slopes = [(merged - one.delta) @ one.moment.matrix / one.moment.tokens for one in updates]
        starts = [one.delta @ one.moment.matrix / one.moment.tokens for one in updates]
        assert len(slopes) == len(TASKS)
        # few proxies: directions below the floor of the moments are left out, and they are worth its root
        assert sum(slopes).norm() < 1e-5 * sum(starts).norm(), layer.name
