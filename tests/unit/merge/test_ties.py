"""TIES against examples worked by hand, and against the dense formula on a whole project."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from esm_viz.core.errors import Cancelled
from esm_viz.merge import LayerUpdate, run_now, with_parameters
from esm_viz.merge.ties import live_cutoffs, ties
from esm_viz.project.project import Project
from esm_viz.stages import merge_stages
from tests.support.tiny import C_FC, TASKS, recipe, relative
from tests.support.updates import updates_of


def matrix(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


A = matrix((4, -1, 0.5), (0.25, 2, -3))
B = matrix((2, 5, -0.5), (-1, -6, -4))
C = matrix((-3, 1, 0.1), (0.2, 7, 0.3))


def test_all_entries_kept_give_the_mean_of_those_that_agree_with_the_sum() -> None:
    # Sums: 3, 5, 0.1 / -0.55, 3, -6.7. The tasks that agree: A B, B C, A C / B, A C, A B.
    truth = matrix((3, 3, 0.3), (-1, 4.5, -3.5))
    assert relative(ties(updates_of(A, B, C), keep=1.0), truth) < 1e-15


def test_half_of_the_entries_kept_are_each_tasks_three_largest() -> None:
    # Kept: A 4, 2, -3; B 5, -6, -4; C -3, 1, 7. In the middle below 2 - 6 + 7 elects plus: the mean of 2 and 7.
    truth = matrix((4, 3, 0), (0, 4.5, -3.5))
    assert relative(ties(updates_of(A, B, C), keep=0.5), truth) < 1e-15


def test_a_share_below_one_entry_keeps_the_largest() -> None:
    # A keeps 4, B -6, C 7: the last two meet, and 1 elects plus.
    assert torch.equal(ties(updates_of(A, B, C), keep=0.01), matrix((4, 0, 0), (0, 7, 0)))


def test_one_task_is_trimmed_and_nothing_else() -> None:
    assert torch.equal(ties(updates_of(A), keep=0.5), matrix((4, 0, 0), (0, 2, -3)))


def test_entries_as_large_as_the_last_that_is_kept_are_kept_too() -> None:
    equal = matrix((2, -2, 2), (1, 3, 0))
    assert torch.equal(ties(updates_of(equal), keep=0.34), matrix((2, -2, 2), (0, 3, 0)))


def test_a_zero_is_kept_by_no_task() -> None:
    # All of A's zeros are as large as the last that is kept, yet the mean is B's alone.
    sparse = matrix((0, 0, 0), (0, 0, 8))
    assert torch.equal(ties(updates_of(sparse, B), keep=1.0), matrix((2, 5, -0.5), (-1, -6, 8)))


def test_equal_sums_of_both_signs_elect_none() -> None:
    assert torch.equal(ties(updates_of(A, -A), keep=1.0), torch.zeros_like(A))


def test_sums_that_are_equal_but_for_rounding_elect_none_in_any_order() -> None:
    parts = [torch.full((1, 1), value, dtype=torch.float64) for value in (0.1, 0.2, -0.3)]
    assert 0.1 + 0.2 - 0.3 != 0
    assert ties(updates_of(*parts), keep=1.0) == ties(updates_of(*parts[::-1]), keep=1.0) == 0


def test_a_weight_scales_entries_and_keeps_the_same_ones() -> None:
    # 0.1 A keeps 0.4, 0.2, -0.3, so B outvotes it below: -6 alone.
    found = ties(updates_of(A, B, weights=(0.1, 1.0)), keep=0.5)
    assert relative(found, matrix((0.4, 5, 0), (0, -6, -2.15))) < 1e-15


def test_a_negative_weight_turns_a_change_round() -> None:
    assert torch.equal(ties(updates_of(A, B, weights=(-1.0, 1.0))), ties(updates_of(-A, B)))


def test_a_task_of_weight_zero_is_not_counted() -> None:
    assert torch.equal(ties(updates_of(A, B, weights=(1.0, 0.0)), keep=0.5), ties(updates_of(A), keep=0.5))


def test_the_cutoff_of_the_whole_task_is_used_where_it_is_known() -> None:
    asked = []

    def whole(share: float) -> float:
        asked.append(share)
        return 3.5

    update = LayerUpdate((2, 3), lambda: A, weight=2.0, load_cutoff=whole)
    assert torch.equal(ties([update], keep=0.3), matrix((8, 0, 0), (0, 0, 0)))
    assert set(asked) == {0.3}


# On a whole project.


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    return Project.open(recipe(tiny_folder, "ties", keep=0.1), device="cpu")


def test_the_cutoff_is_taken_over_all_parameters_of_the_tower(project: Project) -> None:
    shapes = project.headers.arch.shapes
    for task in TASKS:
        sides = (project.headers.experts[task], project.headers.base)
        tuned, base = (side.tensors(shapes, torch.float64) for side in sides)
        whole = torch.cat([(tuned[name] - base[name]).flatten() for name in shapes]).abs()
        kept = int((whole >= project.stages.cutoff(project.recipe, task, 0.1)).sum())
        assert kept == len(whole) // 10
        own = int(((tuned[C_FC] - base[C_FC]).abs() >= project.stages.cutoff(project.recipe, task, 0.1)).sum())
        assert own != tuned[C_FC].numel() // 10  # else this could not tell the whole from the matrix


def test_a_project_is_merged_by_the_formula(project: Project) -> None:
    shapes = project.headers.arch.shapes
    base = project.headers.base.tensors(shapes, torch.float64)
    trimmed = []
    for task in TASKS:
        tuned = project.headers.experts[task].tensors(shapes, torch.float64)
        deltas = {name: tuned[name] - base[name] for name in shapes}
        whole = torch.cat([delta.flatten() for delta in deltas.values()]).abs()
        cutoff = whole.topk(len(whole) // 10).values[-1]
        trimmed.append({name: delta * (delta.abs() >= cutoff) for name, delta in deltas.items()})
    found = project.materialize(project.recipe.replace(dtype="float64"))
    for name in shapes:
        kept = torch.stack([delta[name] for delta in trimmed])
        agree = kept.sign() == kept.sum(0).sign()
        agree &= kept != 0
        truth = (kept * agree).sum(0) / agree.sum(0).clamp_min(1)
        assert (found[name] - base[name] - truth).abs().max() < 1e-14, name  # W0 + ΔW − W0 rounds at |W0| < 10


def test_a_tasks_weight_does_not_change_its_cutoff(project: Project) -> None:
    halves = project.recipe.replace(
        models=tuple(dataclasses.replace(model, weight=0.5) for model in project.recipe.models)
    )
    whole, half = (project.stages.merged(own, C_FC).delta for own in (project.recipe, halves))
    assert torch.equal(whole, 2 * half)


def test_tasks_are_surveyed_one_by_one_before_any_layer_is_merged(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, words, searched = Project.open(recipe(tiny_folder, "ties"), device="cpu"), [], []
    monkeypatch.setattr(merge_stages, "magnitude_cutoff", lambda *arguments: searched.append(len(words)) or 0.0)

    def report(fraction: float, said: str) -> None:
        words.append(said)
        if said.startswith("merging"):
            raise Cancelled

    with pytest.raises(Cancelled):
        project.merge(project.recipe, report)
    assert words == [*(f"surveying, {done} of 3 tasks" for done in range(4)), "merging, 0 of 8 layers"]
    assert searched == [1, 2, 3]  # after each was told, so that stopping there leaves the next one unread


def test_a_share_that_was_there_before_is_not_searched_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    other = with_parameters(project.recipe, keep=0.3)
    project.merge(other)
    project.merge(project.recipe)
    monkeypatch.setattr(merge_stages, "magnitude_cutoff", None)
    project.merge(with_parameters(other, alpha=0.5))


def test_the_live_cutoffs_are_the_smallest_magnitudes_kept() -> None:
    # Half of six entries: A keeps from 2 on, B from 4, C from 1.
    assert live_cutoffs(updates_of(A, B, C), run_now, 0.5) == {"keep": (1.0, 4.0)}
