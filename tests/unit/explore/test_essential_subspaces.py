"""Explore's records against what they stand for, computed from tokens."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from esm_viz.explore import angles
from esm_viz.merge import with_method, with_parameters
from esm_viz.project.project import Project
from tests.support.tiny import C_FC, C_PROJ, IN_PROJ, OUT_PROJ, TASKS, recipe
from tests.unit.explore.conftest import shift_basis, tokens

NAMES = [IN_PROJ, C_FC, C_PROJ, OUT_PROJ]


@pytest.fixture(scope="module")
def shifts(project: Project) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    """Return ΔW_t and X_t by task and layer, straight from the files."""
    found = {}
    for task in TASKS:
        for name in NAMES:
            delta, x = tokens(project, task, name)
            found[task, name] = delta, x.flatten(0, 1)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", TASKS)
def test_the_spectrum_is_that_of_the_output_shift(
    project: Project, shifts: dict[tuple[str, str], tuple[Tensor, Tensor]], task: str, name: str
) -> None:
    delta, x = shifts[task, name]
    found = project.spectrum(task, name, project.recipe)
    s = torch.linalg.svdvals(x @ delta.mT).square() / (len(x) - 1)
    truth = torch.cat([s, s.new_zeros(len(delta) - len(s))])
    assert len(found.eigenvalues) == len(delta)
    assert (torch.tensor(found.eigenvalues, dtype=torch.float64) - truth).abs().max() < 1e-12 * truth[0]
    kept = (truth.cumsum(0) / truth.sum()).tolist()
    assert list(found.energy) == pytest.approx(kept, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_svd_curve_is_the_same_energy_kept_by_singular_vectors(
    project: Project, shifts: dict[tuple[str, str], tuple[Tensor, Tensor]], name: str
) -> None:
    delta, x = shifts["ants", name]
    u = torch.linalg.svd(delta, full_matrices=False)[0]
    shift = x @ delta.mT
    for k in (1, 3, u.shape[1]):
        share = float((shift @ u[:, :k]).square().sum() / shift.square().sum())
        assert project.spectrum("ants", name, project.recipe).energy_svd[k - 1] == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_esd_keeps_at_least_the_energy_that_svd_keeps_at_every_rank(project: Project, name: str) -> None:
    found = project.spectrum("bees", name, project.recipe)
    assert all(esd >= svd - 1e-12 for esd, svd in zip(found.energy, found.energy_svd, strict=True))
    assert found.energy[-1] == pytest.approx(1.0, abs=1e-12)


def test_the_rank_follows_the_knob_and_methods_without_it_show_full_rank(project: Project) -> None:
    assert project.spectrum("ants", C_FC, project.recipe).rank == 21
    assert project.spectrum("ants", C_FC, with_parameters(project.recipe, rank_ratio=0.5)).rank == 10
    assert project.spectrum("ants", C_FC, with_method(project.recipe, "tsv_m")).rank == 21


@pytest.mark.parametrize("name", NAMES)
def test_overlap_is_that_of_the_dense_subspaces(
    project: Project, shifts: dict[tuple[str, str], tuple[Tensor, Tensor]], name: str
) -> None:
    small = with_parameters(project.recipe, rank_ratio=0.4)
    found = project.overlap(name, small)
    bases = [torch.linalg.svd(x @ delta.mT)[2].mT[:, : found.k] for delta, x in (shifts[task, name] for task in TASKS)]
    for i, left in enumerate(bases):
        for j, right in enumerate(bases):
            truth = float((left.mT @ right).square().sum() / found.k)
            assert found.values[i][j] == pytest.approx(truth, abs=1e-7)  # squares of eigenvector errors over gaps
    assert found.random_level == found.k / len(bases[0])


def test_a_task_overlaps_fully_with_itself_and_alike_both_ways(project: Project) -> None:
    values = project.overlap(C_FC, project.recipe).values
    assert [values[at][at] for at in range(3)] == pytest.approx([1.0] * 3, abs=1e-12)
    assert values[0][1] == pytest.approx(values[1][0], abs=1e-15)


def test_angles_ascend_and_their_cosines_make_the_overlap(project: Project) -> None:
    found = project.angles(C_FC, "ants", "bees", project.recipe)
    assert list(found.degrees) == sorted(found.degrees)
    assert all(0 <= degree <= 90 for degree in found.degrees + found.random_degrees)
    cosines = torch.tensor(found.degrees, dtype=torch.float64).deg2rad().cos()
    overlap = project.overlap(C_FC, project.recipe).values[0][1]
    assert float(cosines.square().sum()) / len(cosines) == pytest.approx(overlap, abs=1e-9)


def test_random_angles_are_the_same_every_time(project: Project) -> None:
    first, again = (project.angles(C_FC, "ants", "bees", project.recipe) for _ in range(2))
    assert first == again


def test_the_rank_map_counts_directions_to_90_percent(project: Project) -> None:
    found = project.layer_map("rank90", project.recipe)
    for at, task in enumerate(TASKS):
        for step, layer in enumerate(found.layers):
            kept = project.spectrum(task, layer.name, project.recipe).energy
            truth = next(k for k, share in enumerate(kept, 1) if share >= 0.9)
            assert found.values[at][step] == truth
            assert found.shares[at][step] == truth / layer.d_out


def test_the_energy_map_is_the_share_at_rank_r(project: Project) -> None:
    small = with_parameters(project.recipe, rank_ratio=0.2)
    found = project.layer_map("energy", small)
    for at, task in enumerate(TASKS):
        for step, layer in enumerate(found.layers):
            spectrum = project.spectrum(task, layer.name, small)
            assert found.values[at][step] == pytest.approx(spectrum.energy[spectrum.rank - 1], abs=1e-12)


def test_the_norm_map_is_frobenius_and_its_shares_are_of_the_largest(
    project: Project, shifts: dict[tuple[str, str], tuple[Tensor, Tensor]]
) -> None:
    found = project.layer_map("norm", project.recipe)
    at = [layer.name for layer in found.layers].index(C_FC)
    for row, task in enumerate(TASKS):
        assert found.values[row][at] == pytest.approx(float(shifts[task, C_FC][0].norm()), rel=1e-12)
    largest = max(max(row) for row in found.values)
    assert found.shares == tuple(tuple(value / largest for value in row) for row in found.values)


def test_the_overlap_map_is_the_mean_with_the_other_tasks(project: Project) -> None:
    found = project.layer_map("overlap", project.recipe)
    at = [layer.name for layer in found.layers].index(C_FC)
    values = project.overlap(C_FC, project.recipe).values
    assert found.values[0][at] == pytest.approx((values[0][1] + values[0][2]) / 2, abs=1e-15)


@pytest.mark.parametrize("kind", ["rank90", "energy", "norm", "overlap"])
def test_a_single_task_has_maps_too(alone: Project, kind: str) -> None:
    found = alone.layer_map(kind, alone.recipe)
    assert len(found.values) == len(found.shares) == 1
    assert all(0 <= share <= 1 for share in found.shares[0])


def test_ranks_for_shares_ascend(project: Project) -> None:
    ranks = project.ranks_for_energy("cats", C_PROJ, (0.1, 0.5, 0.9, 1.0))
    assert list(ranks) == sorted(ranks)
    assert ranks[0] >= 1


@pytest.mark.parametrize("name", NAMES)
def test_angles_are_those_of_the_dense_subspaces(
    project: Project, shifts: dict[tuple[str, str], tuple[Tensor, Tensor]], name: str
) -> None:
    small = with_parameters(project.recipe, rank_ratio=0.4)
    found = project.angles(name, "ants", "cats", small)
    k = project.overlap(name, small).k
    left, right = (torch.linalg.svd(x @ delta.mT)[2].mT[:, :k] for delta, x in (shifts[t, name] for t in found.tasks))
    truth = torch.linalg.svdvals(left.mT @ right).clamp_max(1).arccos().rad2deg()
    assert list(found.degrees) == pytest.approx(truth.tolist(), abs=1e-4)  # directions turn by rounding over gaps
    assert len(found.random_degrees) == k


def test_the_rank_knob_has_its_own_angles(project: Project) -> None:
    small = with_parameters(project.recipe, rank_ratio=0.3)
    whole, part = (project.angles(C_PROJ, "ants", "cats", each) for each in (project.recipe, small))
    assert (len(whole.degrees), len(part.degrees)) == (5, 1)
    assert part == Project.open(small, device="cpu").angles(C_PROJ, "ants", "cats", small)


def test_random_angles_are_drawn_once_for_all_pairs(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = angles.random_subspace

    def noted(d_out: int, k: int, seed: int) -> Tensor:
        drawn.append(d_out)
        return draw(d_out, k, seed)

    monkeypatch.setattr(angles, "random_subspace", noted)
    fresh = Project.open(recipe(tiny_folder), device="cpu")
    for other in ("bees", "cats", "bees"):
        fresh.angles(C_FC, "ants", other, fresh.recipe)
    assert drawn == [64, 64]


# Extremes: ants, its twin, still (equal to its base), once (ants with one proxy image).


@pytest.mark.parametrize("name", NAMES)
def test_a_task_that_did_not_move_has_no_energy_no_rank_and_no_subspace(extremes: Project, name: str) -> None:
    found = extremes.spectrum("still", name, extremes.recipe)
    assert set(found.eigenvalues) == {0.0}
    assert extremes.ranks_for_energy("still", name, (0.5, 0.9, 1.0)) == (0, 0, 0)
    assert extremes.overlap(name, extremes.recipe).values[2] == (0.0,) * 4
    assert extremes.angles(name, "ants", "still", extremes.recipe).degrees == ()


@pytest.mark.parametrize("name", NAMES)
def test_twins_overlap_fully_at_no_angle(extremes: Project, name: str) -> None:
    assert extremes.spectrum("ants", name, extremes.recipe) == dataclasses.replace(
        extremes.spectrum("twin", name, extremes.recipe), task="ants"
    )
    assert extremes.overlap(name, extremes.recipe).values[0][1] == pytest.approx(1.0, abs=1e-12)
    angles = extremes.angles(name, "ants", "twin", extremes.recipe).degrees
    assert max(angles) < 1e-5  # arccos near 1 turns 1e-14 into 1e-7 rad


@pytest.mark.parametrize("name", NAMES)
def test_one_proxy_image_has_as_many_directions_as_tokens(extremes: Project, name: str) -> None:
    delta, x = tokens(extremes, "once", name)
    truth = torch.linalg.svdvals(x[0] @ delta.mT).square() / 4  # 5 tokens, n − 1 = 4
    found = extremes.spectrum("once", name, extremes.recipe)
    assert list(found.eigenvalues[:5]) == pytest.approx(truth.tolist(), abs=1e-12 * float(truth[0]))
    assert max(found.eigenvalues[5:]) < 1e-12 * float(truth[0])
    left, right = (shift_basis(*tokens(extremes, task, name), found.rank) for task in ("once", "ants"))
    assert left.shape[1] == min(5, found.rank)
    shared = float((left.mT @ right).square().sum()) / found.rank  # a part does not count as the whole
    assert extremes.overlap(name, extremes.recipe).values[3][0] == pytest.approx(shared, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_a_task_alone_keeps_all_directions_and_overlaps_with_itself(alone: Project, name: str) -> None:
    found = alone.spectrum("ants", name, alone.recipe)
    assert found.rank == found.layer.d_out
    assert found.energy[found.rank - 1] == pytest.approx(1.0, abs=1e-12)
    assert alone.overlap(name, alone.recipe).values == ((pytest.approx(1.0, abs=1e-12),),)
