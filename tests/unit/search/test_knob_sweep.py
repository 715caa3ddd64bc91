"""Sweeps: which grids are taken, in what order they are worked through, what that saves, and what a cell holds."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from esm_viz.core.errors import Cancelled, ImagesError, NumericsError, RecipeError
from esm_viz.core.progress import Progress
from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.merge import METHODS, settle, static_part, with_method, with_parameters
from esm_viz.project.project import Project
from esm_viz.search.knob_sweep import MOST_CELLS, checked_grid, points_of, work_order
from tests.support.errors import says
from tests.support.tiny import LABELLED, TASKS, mapping, recipe
from tests.support.watched import Watched

ESSENTIAL = 6  # layers of the two blocks that ESD applies to
KNOBS = ", ".join(METHODS["esm"].knobs)


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    return Project.open(recipe(tiny_folder, alpha=0.4), device="cpu")


def without(folder: Path, *fields: str, method: str = "esm", tasks: int = 3) -> Project:
    """Open the project with some fields of the first tasks' models missing."""
    raw = mapping(method)
    for model in raw["models"][:tasks]:
        for field in fields:
            del model[field]
    return Project.open(settle(parse_mapping(raw, folder)), device="cpu")


# Grids.


def test_a_grid_is_read_as_the_recipe_reads_parameters(project: Project) -> None:
    raw = {"task_exponent": ["0", 1, "2e0"], "alpha_scope": ["essential"], "alpha": ["search", "0.50"]}
    assert checked_grid(project.recipe, raw) == (
        ("task_exponent", (0.0, 1.0, 2.0)),
        ("alpha_scope", ("essential",)),
        ("alpha", ("search", 0.5)),
    )


BAD: list[tuple[dict[str, list[Any]], str]] = [
    ({}, "the grid has no knob, give at least one with its values, task_exponent=0,1,2 say"),
    ({"alpha": []}, "the grid gives alpha no value, give at least one"),
    ({"alpha": ["0.5", ""]}, "alpha is '', give a number from 0 to 3 or the word search"),
    ({"alpha": ["nan"]}, "alpha is 'nan', give a number from 0 to 3 or the word search"),
    ({"alpha": [math.inf]}, "alpha is inf, give a number from 0 to 3 or the word search"),
    ({"alpha": [True]}, "alpha is True, give a number from 0 to 3 or the word search"),
    ({"alpha": [3.5]}, "alpha is 3.5, give a number from 0 to 3 or the word search"),
    ({"task_exponent": ["much"]}, "task_exponent is 'much', give a number from 0 to 4"),
    ({"alpha_scope": ["some"]}, "alpha_scope is 'some', use all or essential"),
    ({"alpha": ["0.5", "0.50"]}, "the grid gives alpha the value 0.5 twice, give each value once"),
    ({"alpha": [0.0, "-0"]}, "the grid gives alpha the value 0 twice, give each value once"),
    (
        {"task_exponnt": [1]},
        f"esm has no parameter 'task_exponnt' (did you mean task_exponent?), use {KNOBS}",
    ),
    (
        {"recipe": [1]},  # a name that a function may well have
        f"esm has no parameter 'recipe', use {KNOBS}",
    ),
    (
        {"alpha": [step / 100 for step in range(21)], "gain": [step / 10 for step in range(20)]},
        f"the grid has 420 cells, give at most {MOST_CELLS}",
    ),
]


@pytest.mark.parametrize(("grid", "text"), BAD)
def test_a_bad_grid_is_refused_before_any_work(tiny_folder: Path, grid: dict[str, list[Any]], text: str) -> None:
    cache = Watched()
    watched = Project.open(recipe(tiny_folder), device="cpu", cache=cache)
    with says(RecipeError, text):
        watched.sweep(watched.recipe, grid)
    assert not cache.ran


def test_a_rank_that_leaves_nothing_is_refused_before_any_work(tiny_folder: Path) -> None:
    cache = Watched()
    watched = Project.open(recipe(tiny_folder), device="cpu", cache=cache)
    name = "transformer.resblocks.0.mlp.c_proj.weight"
    text = f"rank_ratio 0.05 leaves r = 0 of 16 directions for 3 tasks, at {name}, use at least 0.1875"
    with says(NumericsError, text):
        watched.sweep(watched.recipe, {"rank_ratio": [1, 0.05]})
    assert not cache.ran


@pytest.mark.parametrize("limit", [-1, 1.5, True])
def test_a_number_of_images_that_is_none_is_refused(project: Project, limit: Any) -> None:
    with says(RecipeError, f"the number of images is {limit}, give a whole number; 0 is all of them"):
        project.sweep(project.recipe, {"alpha": [0.5]}, limit=limit)


# Order.


def test_cells_are_in_the_order_of_the_grid_with_the_last_knob_fastest(project: Project) -> None:
    found = project.sweep(project.recipe, {"alpha": [0.6, 0.2], "rank_ratio": [1, 0.5], "gain": [1]}, limit=2)
    asked = [(0.6, 1.0, 1.0), (0.6, 0.5, 1.0), (0.2, 1.0, 1.0), (0.2, 0.5, 1.0)]
    assert list(found.points) == asked
    names = ("alpha", "rank_ratio", "gain")
    assert [tuple(cell.parameters[name] for name in names) for cell in found.cells] == asked


def test_the_knob_that_wakes_the_earliest_stage_varies_slowest(project: Project) -> None:
    # alpha wakes the weights, task_exponent the coordinates, rank_ratio the basis
    grid = checked_grid(project.recipe, {"alpha": [0.1, 0.2], "task_exponent": [0, 1], "rank_ratio": [1, 0.5]})
    points = points_of(project.recipe, grid)
    worked = [points[at].parameters for at in work_order("esm", grid)]
    seen = [(own["rank_ratio"], own["task_exponent"], own["alpha"]) for own in worked]
    assert seen == list(product((1.0, 0.5), (0.0, 1.0), (0.1, 0.2)))


@pytest.mark.parametrize("method", METHODS)
def test_the_work_visits_every_cell_once(tiny_folder: Path, method: str) -> None:
    own = with_method(recipe(tiny_folder), method)
    raw = {
        name: knob.choices or knob.range[:2]
        for name, knob in METHODS[method].knobs.items()
        if knob.choices or knob.range
    }
    grid = checked_grid(own, dict(list(raw.items())[:6]))
    cells = math.prod(len(values) for _, values in grid)
    assert sorted(work_order(method, grid)) == list(range(cells))


# What it saves.


def test_each_stage_runs_once_for_each_value_of_the_knobs_it_reads(tiny_folder: Path) -> None:
    cache = Watched()
    watched = Project.open(recipe(tiny_folder), device="cpu", cache=cache)
    watched.sweep(watched.recipe, {"alpha": [0.2, 0.5], "rank_ratio": [1, 0.5], "task_exponent": [0, 1, 2]})
    ran = cache.counted()
    assert (ran["esd"], ran["basis"], ran["coordinates"]) == (3 * ESSENTIAL, 2 * ESSENTIAL, 6 * ESSENTIAL)
    assert ran["weights"] == 12


def test_a_sweep_after_a_merge_decomposes_nothing(tiny_folder: Path) -> None:
    cache = Watched()
    watched = Project.open(recipe(tiny_folder), device="cpu", cache=cache)
    watched.merge(watched.recipe)
    cache.woken()
    watched.sweep(watched.recipe, {"task_exponent": [0, 1], "dimension_exponent": [0, 1]})
    woken = cache.woken()
    assert "coordinates" in woken
    assert not woken & {"moments", "esd", "basis", "shift"}


def test_a_sweep_over_alpha_merges_nothing_again_even_where_the_cache_holds_little(tiny_folder: Path) -> None:
    # with room for one ρ at a time, only the order of work keeps the basis from being made for every cell
    cache = Watched()
    watched = Project.open(recipe(tiny_folder), device="cpu", cache=cache)
    watched.merge(watched.recipe)
    cache.limit = 2 * cache.bytes
    cache.counted()
    watched.sweep(watched.recipe, {"alpha": [0.1, 0.2, 0.3, 0.4], "rank_ratio": [0.9, 0.8, 0.7, 0.6]}, limit=2)
    assert cache.counted()["basis"] == 4 * ESSENTIAL


# What a cell holds.


def test_a_cell_is_what_merging_and_evaluating_give(project: Project) -> None:
    found = project.sweep(project.recipe, {"alpha": [0.2, 0.9], "alpha_scope": ["essential", "all"]})
    assert (found.split, found.images, found.method) == ("validation", 3 * LABELLED, "esm")
    for values, cell in zip(found.points, found.cells, strict=True):
        own = with_parameters(project.recipe, alpha=values[0], alpha_scope=values[1])
        assert cell.evaluation is not None
        assert cell.evaluation.tasks == project.evaluate(own, "validation").tasks
        assert cell.interference == project.merge(own).interference
        assert (cell.parameters, cell.recipe_sha256) == (own.parameters, project.sha256(own))
        assert cell.value == cell.evaluation.mean_normalised


def test_a_cell_with_searched_alpha_holds_the_alpha_found_there(project: Project) -> None:
    found = project.sweep(project.recipe, {"alpha": ["search", 0.4], "gain": [1, 2]})
    for values, cell in list(zip(found.points, found.cells, strict=True))[:2]:
        own = with_parameters(project.recipe, gain=values[1])
        assert cell.parameters["alpha"] == project.search_alpha(own).alpha
    assert found.points[0] == ("search", 1.0)


def test_knobs_outside_the_grid_stay_as_the_recipe_has_them(project: Project) -> None:
    own = with_parameters(project.recipe, gain=1.3)
    (cell,) = project.sweep(own, {"alpha": [0.5]}, limit=2).cells
    assert cell.parameters == {**own.parameters, "alpha": 0.5}


def test_the_baseline_is_the_cell_that_is_the_recipe(project: Project) -> None:
    found = project.sweep(project.recipe, {"alpha": [0.2, 0.4], "gain": [1, 2]}, limit=2)
    assert found.baseline == 3
    assert project.sweep(project.recipe, {"alpha": [0.2]}, limit=2).baseline is None


def test_the_best_cell_is_the_first_of_highest_validation_accuracy(project: Project) -> None:
    found = project.sweep(project.recipe, {"alpha": [0.0, 0.2, 0.4, 3.0]})
    values = [cell.value for cell in found.cells]
    assert found.best == values.index(max(values))


def test_nothing_is_chosen_by_test_images(project: Project) -> None:
    found = project.sweep(project.recipe, {"alpha": [0.2, 0.4]}, "test", limit=3)
    assert (found.split, found.images, found.best) == ("test", 9, None)


def test_limit_is_the_number_of_images_a_task(project: Project) -> None:
    found = project.sweep(project.recipe, {"alpha": [0.2]}, limit=5)
    assert found.cells[0].evaluation is not None
    assert [row.merged.n for row in found.cells[0].evaluation.tasks] == [5, 5, 5]
    assert found.images == 15


# Which images.


def test_test_images_serve_where_a_task_has_no_validation_images(tiny_folder: Path) -> None:
    part = without(tiny_folder, "validation", tasks=1)
    assert part.sweep(part.recipe, {"alpha": [0.2]}, limit=2).split == "test"


def test_without_labels_cells_hold_agreement_on_proxies(tiny_folder: Path) -> None:
    bare = without(tiny_folder, "validation", "test")
    found = bare.sweep(bare.recipe, {"alpha": [0.9, 0.2]})
    kept = [bare.agreement(with_parameters(bare.recipe, alpha=alpha)) for alpha in (0.9, 0.2)]
    assert (found.split, found.images, found.search_on) == (None, kept[0].images, "divergence")
    assert [cell.evaluation for cell in found.cells] == [None, None]
    assert [cell.value for cell in found.cells] == [-record.divergence.value for record in kept]
    assert found.best == max((0, 1), key=lambda at: kept[at].height)


def test_without_heads_nothing_but_alpha_is_chosen_by_feature_direction(tiny_folder: Path) -> None:
    bare = without(tiny_folder, "validation", "test", "head")
    over_alpha = bare.sweep(bare.recipe, {"alpha": [0.9, 0.2]})
    assert over_alpha.search_on == "direction"
    directions = [cell.agreement.direction.value for cell in over_alpha.cells]
    assert [cell.value for cell in over_alpha.cells] == directions
    assert over_alpha.best == directions.index(max(directions))
    routed = without(tiny_folder, "validation", "test", "head", method="esmpp")
    assert routed.sweep(routed.recipe, {"alpha": [0.9, 0.2]}).search_on is None
    assert routed.search_alpha(routed.recipe).trace == bare.search_alpha(static_part(routed.recipe)).trace
    over_more = bare.sweep(bare.recipe, {"task_exponent": [0, 1]})
    assert (over_more.search_on, over_more.best) == (None, None)


def test_without_proxies_cells_hold_accuracy_only(tiny_folder: Path) -> None:
    bare = without(tiny_folder, "proxies", method="tsv_m")
    (cell,) = bare.sweep(bare.recipe, {"alpha": [0.5]}).cells
    assert cell.interference is None
    assert cell.evaluation is not None


def test_with_neither_labels_nor_proxies_there_is_nothing_to_measure_by(tiny_folder: Path) -> None:
    bare = without(tiny_folder, "proxies", "validation", "test", method="tsv_m")
    text = "there is nothing to measure by, give every task proxies, or labelled images and a head"
    with says(ImagesError, text):
        bare.sweep(bare.recipe, {"alpha": [0.5]})


def test_a_split_that_is_asked_for_must_be_there(tiny_folder: Path) -> None:
    part = without(tiny_folder, "validation", tasks=1)
    text = "ants has no labelled validation images, give `validation` and `head` in the recipe"
    with says(ImagesError, text):
        part.sweep(part.recipe, {"alpha": [0.2]}, "validation")
    searched = part.sweep(part.recipe, {"alpha": ["search"]}, "test")  # α by agreement, never on test images
    assert searched.cells[0].parameters["alpha"] == part.search_alpha(part.recipe).alpha
    assert part.search_alpha(part.recipe).search_on == "divergence"


# Progress and cancelling.


def test_progress_grows_over_all_cells_and_names_them(project: Project) -> None:
    seen: list[tuple[float, str]] = []
    project.sweep(
        project.recipe,
        {"alpha": ["search", 0.3]},
        limit=2,
        progress=Progress(lambda done, words: seen.append((done, words))),
    )
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1] <= 1) == (0.0, True)
    assert {words for _, words in seen} == {"cell 1 of 2, alpha search", "cell 2 of 2, alpha 0.3"}


def test_a_stopped_sweep_leaves_the_cache_whole(tiny_folder: Path) -> None:
    stopped, fresh = (Project.open(recipe(tiny_folder), device="cpu") for _ in range(2))
    grid = {"task_exponent": [0, 1], "alpha": [0.3, 0.5]}

    def stop(fraction: float, _words: str) -> None:
        if fraction > 0.4:
            raise Cancelled

    with pytest.raises(Cancelled):
        stopped.sweep(stopped.recipe, grid, progress=Progress(stop))
    first, second = (project.sweep(project.recipe, grid).cells for project in (stopped, fresh))
    assert [(cell.interference, cell.value) for cell in first] == [(cell.interference, cell.value) for cell in second]


def test_a_sweep_of_other_files_is_refused(project: Project, tiny_folder: Path) -> None:
    raw = mapping()
    raw["models"][0]["path"] = f"{TASKS[1]}.safetensors"
    other: Recipe = settle(parse_mapping(raw, tiny_folder))
    with says(RecipeError, "this recipe names other files than the opened project, open it as a project of its own"):
        project.sweep(other, {"alpha": [0.5]})
