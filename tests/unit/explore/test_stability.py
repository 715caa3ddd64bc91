"""Stability of the basis against every draw there could be, by dense SVDs of the drawn images' output shifts."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from esm_viz.core.records import Spread, Stability
from esm_viz.merge import with_parameters
from esm_viz.project.project import Project
from esm_viz.stages.merge_stages import Stages
from tests.support.tiny import C_FC, C_PROJ, IN_PROJ, PROXIES
from tests.unit.explore.conftest import shift_basis, tokens

NAMES = [IN_PROJ, C_FC, C_PROJ]
SQUARED = 1e-7  # overlaps are squares of eigenvector errors over gaps


def shared(left: Tensor, right: Tensor) -> float:
    return float((left.mT @ right).square().sum()) / max(left.shape[1], right.shape[1])


def among(spread: Spread, truths: list[float]) -> bool:
    """Say whether least and most are two of the values that a draw can give, and the mean lies between them."""
    found = all(min(abs(end - truth) for truth in truths) < SQUARED for end in (spread.low, spread.high))
    return found and spread.low <= spread.mean <= spread.high


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest, project: Project) -> tuple[str, Stability, Tensor, Tensor]:
    """Return a layer, its record at a rank far below full, ΔW and X."""
    small = with_parameters(project.recipe, rank_ratio=0.4)
    return request.param, project.stability("bees", request.param, small), *tokens(project, "bees", request.param)


def test_every_number_of_images_up_to_all_is_drawn(case: tuple[str, Stability, Tensor, Tensor]) -> None:
    _, record, _, x = case
    assert [size.images for size in record.sizes] == [1, 4, len(x)] == [1, 4, PROXIES["bees"]]
    assert record.draws == 5


@pytest.mark.parametrize("count", [1, 4])
def test_overlap_and_energy_are_those_of_dense_bases_of_the_drawn_images(
    case: tuple[str, Stability, Tensor, Tensor], count: int
) -> None:
    _, record, delta, x = case
    size = next(size for size in record.sizes if size.images == count)
    whole, shift = shift_basis(delta, x, record.rank), x.flatten(0, 1) @ delta.mT
    bases = [shift_basis(delta, x[list(some)], record.rank) for some in combinations(range(len(x)), count)]
    assert among(size.with_all, [shared(basis, whole) for basis in bases])
    assert among(size.energy, [float((shift @ basis).square().sum() / shift.square().sum()) for basis in bases])
    assert size.with_all.low < size.with_all.high  # draws differ


def test_draws_apart_share_no_image(case: tuple[str, Stability, Tensor, Tensor]) -> None:
    _, record, delta, x = case
    bases = [shift_basis(delta, x[[at]], record.rank) for at in range(len(x))]
    truths = [shared(left, right) for left, right in combinations(bases, 2)]
    assert among(record.sizes[0].between, truths)
    assert record.sizes[0].between.high < 1 - 1e-6
    assert all(math.isnan(size.between.mean) for size in record.sizes[1:])  # 2 · 4 > 6


def test_all_images_give_the_basis_itself(case: tuple[str, Stability, Tensor, Tensor], project: Project) -> None:
    name, record, _, _ = case
    small = with_parameters(project.recipe, rank_ratio=0.4)
    spectrum = project.spectrum("bees", name, small)
    last = record.sizes[-1]
    assert (last.with_all.low, last.with_all.high) == pytest.approx((1.0, 1.0), abs=1e-12)
    assert last.energy.mean == pytest.approx(spectrum.energy[record.rank - 1], abs=1e-12)
    assert record.svd_energy == pytest.approx(spectrum.energy_svd[record.rank - 1], abs=1e-12)
    assert all(size.energy.high <= last.energy.mean + 1e-12 for size in record.sizes)  # ESD keeps most
    assert record.random_level == record.rank / spectrum.layer.d_out


def test_the_svd_basis_is_compared_too(case: tuple[str, Stability, Tensor, Tensor]) -> None:
    _, record, delta, x = case
    plain = torch.linalg.svd(delta)[0][:, : record.rank]
    assert record.svd_overlap == pytest.approx(shared(plain, shift_basis(delta, x, record.rank)), abs=SQUARED)


def test_one_proxy_image_is_its_own_whole(extremes: Project) -> None:
    record = extremes.stability("once", C_FC, extremes.recipe)
    (only,) = record.sizes
    assert only.images == 1
    assert only.with_all.mean == pytest.approx(1.0, abs=1e-12)
    assert math.isnan(only.between.mean)
    # 5 tokens span 5 directions at most, and r = 16 keeps them all
    assert only.energy.mean == pytest.approx(1.0, abs=1e-9)


def test_a_task_that_did_not_move_has_no_basis_to_be_stable(extremes: Project) -> None:
    record = extremes.stability("still", C_FC, extremes.recipe)
    assert [size.images for size in record.sizes] == [1, 4, PROXIES["bees"]]
    assert all(math.isnan(getattr(s, what).mean) for s in record.sizes for what in ("with_all", "between", "energy"))
    assert math.isnan(record.svd_overlap)


def test_asking_again_runs_no_tower(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    first = project.stability("cats", C_PROJ, project.recipe)
    monkeypatch.setattr(Stages, "inputs", lambda *arguments: pytest.fail("ran again"))
    assert project.stability("cats", C_PROJ, project.recipe) == first


def test_the_rank_knob_and_the_layer_have_their_own_answers(project: Project) -> None:
    small = with_parameters(project.recipe, rank_ratio=0.3)
    shared = [project.stability("ants", name, recipe) for name in NAMES for recipe in (project.recipe, small)]
    fresh = Project.open(project.recipe, device="cpu")
    again = [fresh.stability("ants", name, recipe) for name in NAMES for recipe in (small, project.recipe)]
    assert list(map(repr, shared[::2])) == list(map(repr, again[1::2]))  # as text: NaN differs from itself
    assert list(map(repr, shared[1::2])) == list(map(repr, again[::2]))
