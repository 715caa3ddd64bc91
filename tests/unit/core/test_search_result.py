"""What searches give while they run: curves over α, sweeps and searches as far as they are measured."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from esm_viz.core.errors import Cancelled, RecipeError, SearchStopped
from esm_viz.core.recipe import parse_mapping
from esm_viz.core.records import AlphaCurve, Evaluation, KnobSearch, Score, Sweep, TaskScores
from esm_viz.merge import METHODS, settle, with_parameters
from esm_viz.project.project import Project
from esm_viz.search.alpha_search import DIGITS, INTERVALS, curve_alphas
from esm_viz.search.knob_sweep import spread_values
from tests.support.errors import says
from tests.support.tiny import LABELLED, mapping, recipe

KNOBS = METHODS["esm"].knobs


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    return Project.open(recipe(tiny_folder, alpha=0.4), device="cpu")


def point(alpha: float, correct: int, n: int) -> Evaluation:
    row = TaskScores("ants", Score(0, n), Score(n, n), Score(correct, n))
    return Evaluation("", "esm", alpha, {}, "validation", (row,), 0, 0.1)


# The curve over α.


@pytest.mark.parametrize("own", [0.0, 0.437, 0.75, 3.0])
def test_a_curve_visits_the_recipes_alpha_first_and_the_range_once(own: float) -> None:
    alphas = curve_alphas(3.0, own)
    grid = {round(3.0 * at / INTERVALS, DIGITS) for at in range(INTERVALS + 1)}
    assert alphas[0] == own
    assert set(alphas) == grid | {own}
    assert len(set(alphas)) == len(alphas)


def test_a_curve_goes_from_coarse_to_fine() -> None:
    assert curve_alphas(3.0, 1.0)[:6] == (1.0, 0.0, 3.0, 1.5, 0.75, 2.25)


def test_points_stand_in_rising_alpha_and_more_images_win() -> None:
    few, all_of_it = point(0.5, 9, 10), point(0.5, 80, 100)
    curve = AlphaCurve().with_point(point(1.0, 1, 10)).with_point(few)
    assert [each.alpha for each in curve.points] == [0.5, 1.0]
    assert curve.with_point(all_of_it).points[0] == all_of_it
    assert curve.with_point(all_of_it).with_point(few).points[0] == all_of_it


def test_the_best_point_is_the_highest_of_those_on_the_most_images() -> None:
    assert AlphaCurve().best is None
    assert AlphaCurve((point(0.1, 10, 10), point(0.5, 80, 100), point(0.9, 80, 100))).best == 1


def test_between_two_points_accuracy_is_on_the_straight_line() -> None:
    curve = AlphaCurve((point(0.5, 80, 100), point(0.75, 90, 100), point(1.0, 40, 100)))
    found = curve.between(0.8)
    assert (found.low.alpha, found.high.alpha) == (0.75, 1.0)
    assert found.accuracy == (pytest.approx(0.8),)
    assert found.mean == pytest.approx(0.8)
    assert curve.between(0.75).accuracy == (0.9,)


def test_only_points_on_all_images_on_both_sides_are_drawn_between() -> None:
    part = dataclasses.replace(point(0.6, 9, 10), limit=10)
    curve = AlphaCurve((point(0.5, 80, 100), part, point(1.0, 40, 100)))
    assert curve.between(0.7).low.alpha == 0.5
    assert curve.between(0.4) is curve.between(1.1) is None


def test_a_curves_points_are_the_evaluations_of_its_recipes(project: Project) -> None:
    seen: list[Evaluation] = []
    curve = project.alpha_curve(project.recipe, 5, seen=seen.append)
    assert [each.alpha for each in seen] == list(curve_alphas(3.0, 0.4))
    assert sorted(seen, key=lambda each: each.alpha) == list(curve.points)
    for each in curve.points:
        truth = project.evaluate(with_parameters(project.recipe, alpha=each.alpha), "validation", 5)
        assert (each.tasks, each.recipe_sha256) == (truth.tasks, truth.recipe_sha256)
        assert {row.merged.n for row in each.tasks} == {5}


def test_a_curve_needs_a_number_for_alpha(tiny_folder: Path) -> None:
    searched = Project.open(recipe(tiny_folder, alpha="search"), device="cpu")
    with says(RecipeError, "alpha is still to be searched, search it on validation images, or give a number"):
        searched.alpha_curve(searched.recipe)


def test_the_search_for_alpha_shows_each_step_it_takes(project: Project) -> None:
    seen: list[Evaluation] = []
    found = project.search_alpha(project.recipe, seen=seen.append)
    assert [(each.alpha, each.mean_normalised) for each in seen] == [(p.alpha, p.value) for p in found.trace]
    assert all(row.merged.n == LABELLED for each in seen for row in each.tasks)


# Sweeps.


@pytest.mark.parametrize(
    ("name", "own", "steps", "values"),
    [
        ("spectrum_exponent", 0.0, 5, (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("spectrum_exponent", 0.15, 5, (0.0, 0.15, 0.25, 0.5, 0.75, 1.0)),
        ("spectrum_exponent", 0.02, 3, (0.0, 0.02, 0.5, 1.0)),
        ("task_exponent", 2.0, 3, (0.0, 2.0, 4.0)),
        ("alpha", "search", 4, (0.0, 1.0, 2.0, 3.0)),
        ("alpha_scope", "all", 13, ("all", "essential")),
    ],
)
def test_values_of_a_sweep_are_spread_over_the_range_with_the_recipes_own(
    name: str, own: Any, steps: int, values: tuple[Any, ...]
) -> None:
    assert spread_values(KNOBS[name], own, steps) == values


@pytest.mark.parametrize("steps", [5, 9, 13])
@pytest.mark.parametrize("method", METHODS)
def test_values_of_every_knob_are_those_a_recipe_takes_each_once(tiny_folder: Path, method: str, steps: int) -> None:
    own = recipe(tiny_folder, method)
    for name, knob in METHODS[method].knobs.items():
        values = spread_values(knob, own.parameters[name], steps)
        assert own.parameters[name] in values
        assert len(set(values)) == len(values) <= max(steps + 1, len(knob.choices))
        assert all(with_parameters(own, **{name: value}).parameters[name] == value for value in values)


def test_ranks_that_leave_nothing_are_not_among_the_values(project: Project) -> None:
    assert spread_values(KNOBS["rank_ratio"], 1.0, 5)[0] == 0.01  # 48 directions, 3 tasks: r = 0 below 0.0625
    values = project.spaced(project.recipe, "rank_ratio", 5)
    assert values == spread_values(KNOBS["rank_ratio"], 1.0, 5)[1:]
    assert project.sweep(project.recipe, {"rank_ratio": values}, limit=2).reached == 4


def test_an_unknown_knob_has_no_values(project: Project) -> None:
    with pytest.raises(RecipeError, match="esm has no parameter 'nobody'"):
        project.spaced(project.recipe, "nobody", 5)


def test_a_sweep_is_seen_cell_by_cell_in_the_order_of_work(project: Project) -> None:
    seen: list[Sweep] = []
    # ρ wakes the earlier stage, so it varies slowest although it stands last
    grid = {"layer_exponent": [0.0, 1.0], "rank_ratio": [1.0, 0.5]}
    whole = project.sweep(project.recipe, grid, seen=seen.append)
    assert [[cell.reached for cell in each.cells] for each in seen] == [
        [True, False, False, False], [True, False, True, False], [True, True, True, False], [True] * 4]  # fmt: skip
    assert [each.reached for each in seen] == [1, 2, 3, 4]
    assert seen[-1].cells == whole.cells
    assert seen[0].cells[0] == whole.cells[0]
    assert math.isnan(seen[0].cells[1].value)
    assert seen[0].best == 0


def test_a_sweep_without_a_split_reads_no_labels(project: Project) -> None:
    found = project.sweep(project.recipe, {"gain": [1.0, 2.0]}, "none")
    assert (found.split, found.images) == (None, project.agreement(project.recipe).images)
    assert all(cell.evaluation is None and cell.agreement and cell.interference for cell in found.cells)


def test_a_sweep_asked_for_nothing_takes_test_images_only_where_validation_is_missing(tiny_folder: Path) -> None:
    raw = mapping()
    for model in raw["models"]:
        del model["validation"]
    own = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    assert own.sweep(own.recipe, {"gain": [1.0]}, limit=1).split == "test"
    assert own.sweep(own.recipe, {"gain": [1.0]}, "none").split is None


# The search over knobs.


def test_a_search_over_knobs_is_seen_trial_by_trial(project: Project) -> None:
    seen: list[KnobSearch] = []
    whole = project.search_knobs(project.recipe, ["gain"], 3, seen=seen.append)
    assert [each.trials for each in seen] == [whole.trials[:count] for count in (1, 2, 3)]


def test_what_was_seen_is_all_that_a_stopped_search_keeps(project: Project) -> None:
    seen: list[KnobSearch] = []

    def stop(record: KnobSearch) -> None:
        seen.append(record)
        if len(record.trials) == 2:
            raise Cancelled

    with pytest.raises(SearchStopped, match="after 2 of 5 trials") as caught:
        project.search_knobs(project.recipe, ["gain"], 5, seen=stop)
    assert caught.value.found == seen[-1]
