"""The sweep: a measurement in every cell of a grid over knobs, in the order that recomputes the fewest stages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Literal, get_args

from esm_viz.core.errors import RecipeError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Knob, Objective, Split, Stage, Sweep, SweepCell, Value, ignore_record
from esm_viz.evaluation.accuracy_measurement import evaluate
from esm_viz.evaluation.agreement_measurement import agreement
from esm_viz.evaluation.label_free_measures import merge
from esm_viz.merge import METHODS, checked, knob_of, static_part, with_parameters
from esm_viz.search.alpha_search import with_alpha_found
from esm_viz.search.search_requirements import images_counted, need_measurable, rank_is_possible
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import question

MOST_CELLS = 400  # 20 x 20; for more, use a knob search
Grid = tuple[tuple[str, tuple[Value, ...]], ...]
Measure = Callable[[Recipe, Progress], SweepCell]


@question
def sweep(
    project: OpenedProject,
    recipe: Recipe,
    grid: Mapping[str, Sequence[Value]],
    split: Split | Literal["none"] | None = None,
    limit: int = 0,
    progress: Progress = NO_PROGRESS,
    seen: Callable[[Sweep], None] = ignore_record,
) -> Sweep:
    """Measure every cell of a grid over knobs; each stage runs once per combination of the knobs that it reads.

    Args:
        project: the opened project.
        recipe: a recipe of this project; knobs outside the grid keep its values.
        grid: values by knob, numbers or words (alpha_scope: all, essential; alpha: search).
        split: split of the labelled images. By default validation if every task has it, since sweeps are used to choose
            knobs; or else test; or else none. With "none", the cells have agreement with the experts on proxies.
        limit: images per task, spread evenly over its set; 0 = all.
        progress: callback, may raise Cancelled.
        seen: called with the sweep so far after each cell.

    Raises:
        RecipeError: the grid is wrong.
        NumericsError: one of its ranks is impossible.
        ImagesError: a task has no labelled images of that split, or neither labels nor proxies.
    """
    begun, recipe = time.perf_counter(), project.settled(recipe)
    known = checked_grid(recipe, grid)
    scored_on = _to_score_on(project, split)
    for own in points_of(recipe, known):
        need_measurable(project, own, scored_on, limit)

    def measure(own: Recipe, inside: Progress) -> SweepCell:
        start = time.perf_counter()
        own = with_alpha_found(project, own, inside.part(0.0, 0.5))
        merged = merge(project, own, inside.part(0.5, 0.7)).interference if project.has_proxies else None
        scores = kept = None
        if scored_on:
            scores = evaluate(project, own, scored_on, limit, inside.part(0.7, 1.0), oracle=False)
        elif project.has_proxies:
            kept = agreement(project, own, limit, inside.part(0.7, 1.0))
        return SweepCell(own.parameters, project.sha256(own), merged, scores, time.perf_counter() - start, kept)

    def record(cells: tuple[SweepCell, ...]) -> Sweep:
        return Sweep(
            recipe_sha256=project.sha256(recipe),
            method=recipe.method,
            grid=known,
            start=recipe.parameters,
            split=scored_on,
            images=images_counted(project, scored_on, limit),
            cells=cells,
            seconds=time.perf_counter() - begun,
            search_on=_chosen_by(project, recipe, scored_on, [name for name, _ in known]),
        )

    return record(measured(recipe, known, measure, progress, lambda cells: seen(record(cells))))


@question
def spaced(project: OpenedProject, recipe: Recipe, name: str, steps: int) -> tuple[Value, ...]:
    """Return possible values of a knob for a sweep, spread over its range and including the recipe's own.

    Raises:
        RecipeError: there is no such knob.
    """
    recipe = project.settled(recipe)
    knob = knob_of(METHODS[recipe.method], name)
    return tuple(
        value
        for value in spread_values(knob, recipe.parameters[name], steps)
        if rank_is_possible(project, with_parameters(recipe, **{name: value}))
    )


def checked_grid(recipe: Recipe, raw: Mapping[str, Sequence[Value]]) -> Grid:
    """Return a grid with checked values, in the given order.

    Args:
        recipe: a recipe with the method whose knobs are swept.
        raw: values by knob.

    Raises:
        RecipeError: a knob is unknown, a value is out of range or given twice, or there are no or too many cells.
    """
    if not raw:
        raise RecipeError("the grid has no knob", "give at least one with its values, task_exponent=0,1,2 say")
    grid = []
    for name, values in raw.items():
        knob = knob_of(METHODS[recipe.method], name)
        known = tuple(checked(name, value, knob) for value in values)
        twice = [value for at, value in enumerate(known) if value in known[:at]]
        if not known:
            raise RecipeError(f"the grid gives {name} no value", "give at least one")
        if twice:
            raise RecipeError(f"the grid gives {name} the value {written(twice[0])} twice", "give each value once")
        grid.append((name, known))
    cells = math.prod(len(values) for _, values in grid)
    if cells > MOST_CELLS:
        raise RecipeError(f"the grid has {cells} cells", f"give at most {MOST_CELLS}")
    return tuple(grid)


def points_of(recipe: Recipe, grid: Grid) -> list[Recipe]:
    """Return the recipe of every cell; the last knob varies fastest."""
    names = [name for name, _ in grid]
    return [
        with_parameters(recipe, **dict(zip(names, values, strict=True)))
        for values in product(*(values for _, values in grid))
    ]


def work_order(method: str, grid: Grid) -> list[int]:
    """Return the cells' indices in the order of work: the knob that the earliest stage depends on varies slowest.

    So the slow stages of ρ and γ run once per value and not once per cell, whatever the order of the grid.
    """
    stages, knobs = get_args(Stage), METHODS[method].knobs
    slowest_first = sorted(range(len(grid)), key=lambda at: stages.index(knobs[grid[at][0]].wakes))
    places = list(product(*(range(len(values)) for _, values in grid)))
    return sorted(range(len(places)), key=lambda cell: [places[cell][at] for at in slowest_first])


def spread_values(knob: Knob, own: Value, steps: int) -> tuple[Value, ...]:
    """Return values of a knob spread evenly over its range, on its steps, including the recipe's own value.

    The recipe's value is added where it is not among them, so that no step is missing. For a knob with words, all words
    are returned.

    Args:
        knob: the knob.
        own: the recipe's value; `search` is not included.
        steps: number of values besides the recipe's own, at least 3; fewer are returned if the range has fewer.
    """
    if knob.range is None:
        return knob.choices
    least, most, step = knob.range
    places = [least + round(at * (most - least) / (steps - 1) / step) * step for at in range(steps)]
    values = list(dict.fromkeys(round(min(most, place), 10) for place in places))
    if not isinstance(own, str) and own not in values:
        values = sorted([*values, own])
    return tuple(checked(knob.label, value, knob) for value in values)


def measured(
    recipe: Recipe,
    grid: Grid,
    measure: Measure,
    progress: Progress,
    seen: Callable[[tuple[SweepCell, ...]], None] = ignore_record,
) -> tuple[SweepCell, ...]:
    """Measure every cell in the order of work and return them in the order of the grid.

    Args:
        recipe: the recipe; knobs outside the grid keep its values.
        grid: a grid from `checked_grid`.
        measure: returns the cell of a recipe.
        progress: callback, may raise Cancelled.
        seen: called with all cells after each measurement.
    """
    points = points_of(recipe, grid)
    cells = [SweepCell(point.parameters, "", None, None, 0.0) for point in points]
    for done, at in enumerate(work_order(recipe.method, grid)):
        asked = ", ".join(f"{name} {written(points[at].parameters[name])}" for name, _ in grid)
        title = f"cell {done + 1} of {len(points)}, {asked}"
        inside = progress.part(done / len(points), (done + 1) / len(points), title, fixed=True)
        inside(0.0, "")
        cells[at] = measure(points[at], inside)
        seen(tuple(cells))
    return tuple(cells)


def written(value: Value) -> str:
    """Return a knob's value as short text."""
    return value if isinstance(value, str) else f"{value:g}"


def _chosen_by(project: OpenedProject, recipe: Recipe, split: Split | None, names: Sequence[str]) -> Objective | None:
    """Return what cells may be chosen by: not by test images, nor by direction where more than α differs or routed."""
    if split is not None:
        return "normalised" if split == "validation" else None
    if project.has_heads:
        return "divergence"
    return "direction" if list(names) == ["alpha"] and static_part(recipe) == recipe else None


def _to_score_on(project: OpenedProject, split: Split | Literal["none"] | None) -> Split | None:
    """Return the split of a sweep: the requested one, or the first of validation and test that every task has."""
    splits: tuple[Split, ...] = ("validation", "test")
    if split is None:
        return next((each for each in splits if project.has_labels(each)), None)
    return None if split == "none" else split
