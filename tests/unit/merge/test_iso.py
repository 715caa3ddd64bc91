"""Iso-C and Iso-CTS against their formulas by dense SVDs, and where a sum or its rest has no room."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from esm_viz.merge.iso_c import iso_c
from esm_viz.merge.iso_cts import iso_cts
from tests.support.tiny import normal, relative
from tests.support.updates import updates_of

SHAPES = [(10, 14), (14, 10), (12, 12)]


def changes(d_out: int, d_in: int, tasks: int = 2) -> list[Tensor]:
    return [(0.5 + at) * normal(d_out, d_in, seed=at) for at in range(tasks)]


def svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    return u, s, vt.mT


# Iso-C.


@pytest.mark.parametrize("shape", SHAPES)
def test_iso_c_is_the_formula(shape: tuple[int, int]) -> None:
    deltas = changes(*shape, tasks=3)
    u, s, v = svd(sum(deltas))
    assert relative(iso_c(updates_of(*deltas)), s.mean() * u @ v.mT) < 1e-12  # condition numbers below 100


def test_iso_c_of_a_diagonal_sum_is_worked_by_hand() -> None:
    one, two = torch.diag(torch.tensor([3.0, -1.0, 0.0]).double()), torch.diag(torch.tensor([3.0, 0.0, -2.0]).double())
    # singular values 6, 1, 2, mean 3; the signs stay
    assert relative(iso_c(updates_of(one, two)), torch.diag(torch.tensor([3.0, -3.0, -3.0]).double())) < 1e-15


def test_iso_c_leaves_directions_alone_in_which_the_sum_is_zero() -> None:
    # rank 2 of 4: singular values 6, 2, 0, 0, mean 2
    one = torch.diag(torch.tensor([6.0, 0.0, 2.0, 0.0]).double())
    assert relative(iso_c(updates_of(one)), torch.diag(torch.tensor([2.0, 0.0, 2.0, 0.0]).double())) < 1e-15


def test_iso_c_of_tasks_that_cancel_is_nothing() -> None:
    (one,) = changes(6, 9, tasks=1)
    assert not iso_c(updates_of(one, -one)).any()


def test_iso_c_takes_weights_into_the_sum() -> None:
    one, two = changes(6, 9)
    assert relative(iso_c(updates_of(one, two, weights=(0.3, -2.0))), iso_c(updates_of(0.3 * one, -2 * two))) < 1e-15


# Iso-CTS.


def by_the_book(deltas: list[Tensor], share: float) -> Tensor:
    r, tasks = min(deltas[0].shape), len(deltas)
    k = math.floor(share * r)
    e = (r - k) // tasks
    u, s, v = svd(sum(deltas))
    parts = [(u[:, :k], s[:k], v[:, :k])]
    for delta in deltas:
        own_u, own_s, own_v = svd(delta - u[:, :k] @ u[:, :k].mT @ delta)
        parts.append((own_u[:, :e], own_s[:e], own_v[:, :e]))
    left, values, right = (torch.cat(side, -1) for side in zip(*parts, strict=True))
    (a, _, b), (c, _, d) = svd(left), svd(right)
    return values.mean() * (a @ b.mT) @ (c @ d.mT).mT


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tasks", [1, 2, 3])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
def test_iso_cts_is_the_formula(shape: tuple[int, int], tasks: int, share: float) -> None:
    deltas = changes(*shape, tasks=tasks)
    # condition numbers of the stacks below 1e3, and the gaps of the truncated spectra above 1e-2
    assert relative(iso_cts(updates_of(*deltas), common_share=share), by_the_book(deltas, share)) < 1e-10


def test_a_common_share_of_all_is_iso_c() -> None:
    updates = updates_of(*changes(10, 14, tasks=3))
    assert relative(iso_cts(updates, common_share=1.0), iso_c(updates)) < 1e-12


def test_more_tasks_than_room_beside_the_common_part_leave_only_that() -> None:
    # r = 10, k = 8: three tasks would share two directions
    deltas = changes(10, 14, tasks=3)
    u, s, v = svd(sum(deltas))
    truth = s[:8].mean() * u[:, :8] @ v[:, :8].mT
    assert relative(iso_cts(updates_of(*deltas)), truth) < 1e-12


def test_no_direction_for_anyone_is_the_mean() -> None:
    deltas = changes(2, 9, tasks=3)
    assert relative(iso_cts(updates_of(*deltas), common_share=0.0), sum(deltas) / 3) < 1e-15


def test_tasks_that_cancel_merge_to_nothing() -> None:
    # Nothing is common, and ±u vᵀ of the two tasks meet as (u vᵀ - u vᵀ) / 2 between the polar factors.
    (one,) = changes(10, 14, tasks=1)
    assert iso_cts(updates_of(one, -one)).abs().max() < 1e-13


def test_tasks_that_cancel_but_for_rounding_have_no_common_direction() -> None:
    one, two = changes(10, 14)
    deltas = [one, -(one + two), two]
    assert sum(deltas).any()
    # k = 7 directions of rounding and one a task: the tasks' own are all that is left
    lefts, values, rights = zip(*((u[:, :1], s[:1], v[:, :1]) for u, s, v in map(svd, deltas)), strict=True)
    (a, _, b), (c, _, d) = svd(torch.cat(lefts, 1)), svd(torch.cat(rights, 1))
    truth = torch.cat(values).sum() / 10 * (a @ b.mT) @ (c @ d.mT).mT
    assert relative(iso_cts(updates_of(*deltas), common_share=0.7), truth) < 1e-11


def test_a_sum_short_of_rank_claims_no_room_that_it_does_not_fill() -> None:
    # Both tasks live in the same two directions of ten: of the k = 8 six are dead, and one more a task.
    left, right = torch.linalg.qr(normal(10, 2, seed=3))[0], torch.linalg.qr(normal(14, 2, seed=4))[0]
    one, two = (left @ torch.diag(torch.tensor(pair).double()) @ right.mT for pair in ([3.0, 1.0], [5.0, 1.0]))
    # sum: 8 and 2 over the ten that were asked for
    assert relative(iso_cts(updates_of(one, two)), 1.0 * left @ right.mT) < 1e-12


def test_the_task_specific_part_is_outside_of_the_common_outputs() -> None:
    # Tasks of one direction each, the common part takes the stronger: the weaker comes back at the same strength.
    left, right = torch.linalg.qr(normal(5, 2, seed=3))[0], torch.linalg.qr(normal(5, 2, seed=4))[0]
    strong, weak = 6 * left[:, :1] @ right[:, :1].mT, 4 * left[:, 1:] @ right[:, 1:].mT
    # r = 5, k = 1, 2 a task: 6, then the strong task's rest is 0 and 0, the weak one's 4 and 0; mean 10 / 5
    found = iso_cts(updates_of(strong, weak), common_share=0.2)
    assert relative(found, 2 * left @ right.mT) < 1e-12
