"""Levels of scaling: each line is an ordinary merge with the later levels' exponents at 0."""

from __future__ import annotations

import dataclasses
import math

import pytest

from esm_viz.merge import METHODS, with_method, with_parameters
from esm_viz.project.project import Project
from tests.support.tiny import C_FC, OUT_PROJ

EXPONENTS = ("spectrum_exponent", "task_exponent", "dimension_exponent", "layer_exponent")


def test_each_level_is_the_merge_with_the_later_ones_off(project: Project) -> None:
    record = project.scaling_profile(project.recipe)
    assert record.levels == ("none", "spectrum", "task", "dimension", "layer")
    for count, norms in enumerate(record.norms):
        off = dict.fromkeys(EXPONENTS[count:], 0.0)
        fresh = Project.open(project.recipe, device="cpu")
        merged = fresh.merge(with_parameters(fresh.recipe, **off))
        assert norms == pytest.approx(merged.norms.after, rel=1e-12)
    assert len(set(record.norms)) == 5


def test_out_proj_is_touched_by_the_layer_level_alone(project: Project) -> None:
    record = project.scaling_profile(project.recipe)
    at = [layer.name for layer in record.layers].index(OUT_PROJ)
    sizes = [norms[at] for norms in record.norms]
    assert sizes[0] == sizes[1] == sizes[2] == sizes[3] != sizes[4]


@pytest.mark.parametrize("method", [name for name in METHODS if not {*EXPONENTS} & {*METHODS[name].knobs}])
def test_a_method_without_levels_has_one_line(project: Project, method: str) -> None:
    plain = with_method(project.recipe, method)
    record = project.scaling_profile(plain)
    assert record.levels == ("none",)
    assert record.norms == (project.merge(plain).norms.before,)
    assert record.shares_before == record.shares_after


def test_shares_of_tasks_are_powers_of_their_norms(project: Project) -> None:
    record = project.scaling_profile(with_parameters(project.recipe, task_exponent=1.5))
    norms = project.layer_map("norm", project.recipe).values
    at = [layer.name for layer in record.layers].index(C_FC)
    before, after = ([row[at] ** power for row in norms] for power in (2, 5))  # (n · n^1.5)² = n⁵
    assert [row[at] for row in record.shares_before] == pytest.approx([n / sum(before) for n in before], rel=1e-12)
    assert [row[at] for row in record.shares_after] == pytest.approx([n / sum(after) for n in after], rel=1e-12)
    out = [layer.name for layer in record.layers].index(OUT_PROJ)
    assert [row[out] for row in record.shares_before] == [row[out] for row in record.shares_after]


def test_shares_know_the_weights_of_models(project: Project) -> None:
    recipe = project.recipe
    halved = tuple(dataclasses.replace(model, weight=0.5) if model.name == "bees" else model for model in recipe.models)
    plain, weighted = (project.scaling_profile(r).shares_before for r in (recipe, recipe.replace(models=halved)))
    ratio = weighted[1][0] / weighted[0][0] / (plain[1][0] / plain[0][0])
    assert ratio == pytest.approx(0.25, rel=1e-12)


def test_a_task_that_did_not_move_has_no_share(extremes: Project) -> None:
    record = extremes.scaling_profile(extremes.recipe)
    assert set(record.shares_after[2]) == {0.0}
    assert all(sum(column) == pytest.approx(1.0) for column in zip(*record.shares_after, strict=True))


def test_where_nothing_moved_there_are_no_shares(project: Project) -> None:
    models = tuple(dataclasses.replace(model, weight=0.0) for model in project.recipe.models)
    record = project.scaling_profile(project.recipe.replace(models=models))
    assert all(math.isnan(share) for row in record.shares_before for share in row)
    assert all(norm == 0 for row in record.norms for norm in row)
