"""The baselines, each against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from esm_viz.merge import METHODS, LayerUpdate, run_now
from esm_viz.merge.averaging import averaging, mean_delta
from esm_viz.merge.task_arithmetic import task_arithmetic
from esm_viz.merge.tsv_m import tsv_m
from tests.support.tiny import normal, relative
from tests.support.updates import updates_of

A, B, C = (normal(6, 9, seed=seed) for seed in (1, 2, 3))


def test_averaging_is_the_mean() -> None:
    assert relative(averaging(updates_of(A, B, C)), (A + B + C) / 3) < 1e-15


def test_task_arithmetic_is_the_sum() -> None:
    assert relative(task_arithmetic(updates_of(A, B, C)), A + B + C) < 1e-15


def test_the_mean_takes_weights_into_the_sum_and_not_into_the_count() -> None:
    assert relative(mean_delta(updates_of(A, B, weights=(0.5, 2.0))), (0.5 * A + 2 * B) / 2) < 1e-15


@pytest.mark.parametrize("shape", [(7,), (), (4, 3, 2, 2)])
def test_the_mean_takes_any_shape(shape: tuple[int, ...]) -> None:
    one, two = normal(*shape, seed=1), normal(*shape, seed=2)
    updates = [LayerUpdate((1, 1), lambda delta=delta: delta) for delta in (one, two)]
    assert torch.equal(mean_delta(updates), (one + two) / 2)


def test_the_mean_does_not_change_the_first_task() -> None:
    before = A.clone()
    mean_delta(updates_of(A, B))
    assert torch.equal(A, before)


def tsv_by_the_book(deltas: list[Tensor]) -> Tensor:
    r = min(deltas[0].shape) // len(deltas)
    triplets = [torch.linalg.svd(delta, full_matrices=False) for delta in deltas]
    U = torch.cat([u[:, :r] for u, _, _ in triplets], 1)
    S = torch.cat([s[:r] for _, s, _ in triplets])
    V = torch.cat([vt[:r].mT for _, _, vt in triplets], 1)
    polar = [u @ vt for u, _, vt in (torch.linalg.svd(stack, full_matrices=False) for stack in (U, V))]
    return polar[0] @ torch.diag(S) @ polar[1].mT


@pytest.mark.parametrize(("d_out", "d_in", "tasks"), [(6, 9, 3), (9, 6, 2), (7, 7, 3), (6, 9, 1)])
def test_tsv_m_is_the_formula(d_out: int, d_in: int, tasks: int) -> None:
    deltas = [normal(d_out, d_in, seed=at) for at in range(tasks)]
    assert relative(tsv_m(updates_of(*deltas)), tsv_by_the_book(deltas)) < 1e-11


def test_tsv_m_of_one_task_is_that_task() -> None:
    assert relative(tsv_m(updates_of(A)), A) < 1e-13


def test_tsv_m_keeps_tasks_apart_that_share_no_direction() -> None:
    left, right = torch.linalg.qr(normal(8, 8, seed=4))[0], torch.linalg.qr(normal(8, 8, seed=5))[0]
    one = left[:, :4] @ torch.diag(torch.tensor([4.0, 3, 2, 1]).double()) @ right[:, :4].mT
    two = left[:, 4:] @ torch.diag(torch.tensor([5.0, 4, 3, 2]).double()) @ right[:, 4:].mT
    assert relative(tsv_m(updates_of(one, two)), one + two) < 1e-13


def test_tsv_m_ignores_a_task_that_moved_nothing() -> None:
    # The zero task takes its share of the rank, so the other keeps its first 3 of 6 triplets.
    u, s, vt = torch.linalg.svd(A, full_matrices=False)
    found = tsv_m(updates_of(A, torch.zeros_like(A)))
    assert relative(found, (u[:, :3] * s[:3]) @ vt[:3]) < 1e-12


def test_tsv_m_of_the_same_task_twice_is_finite_and_of_that_tasks_leading_subspace() -> None:
    u, s, vt = torch.linalg.svd(A, full_matrices=False)
    found = tsv_m(updates_of(A, A))
    # [U U] has singular values √2, so its polar factor is [U U] / √2, and both halves add up to U Σ Vᵀ
    assert relative(found, (u[:, :3] * s[:3]) @ vt[:3]) < 1e-12


def test_tsv_m_with_more_tasks_than_triplets_takes_the_mean() -> None:
    thin = [normal(2, 9, seed=at) for at in range(3)]
    assert relative(tsv_m(updates_of(*thin)), sum(thin) / 3) < 1e-15


def test_a_method_is_given_only_the_knobs_that_it_names() -> None:
    esm = METHODS["esm"]
    assert set(esm.arguments(esm.defaults)) == set(esm.knobs) - {"layer_exponent", "alpha_scope", "alpha"}


def test_an_update_without_moments_says_so() -> None:
    (bare,) = updates_of(A)
    assert not bare.measured
    assert not bare.essential
    with pytest.raises(LookupError, match=r"^this layer has no moments: ask `measured` first$"):
        _ = bare.moment
    with pytest.raises(LookupError, match=r"^this layer has no decomposition: ask `essential` first$"):
        _ = bare.decomposition


def test_run_now_keeps_nothing() -> None:
    seen = []
    for _ in range(2):
        run_now("product", (), lambda: seen.append(1))
    assert seen == [1, 1]
