"""A sweep: one measurement a cell of a grid over knobs, in the order of work that wakes the fewest stages."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Literal, get_args

from esm_viz.core.errors import RecipeError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Knob, Split, Stage, Sweep, SweepCell, Value, unseen
from esm_viz.evaluation.accuracy_measurement import evaluate
from esm_viz.evaluation.label_free_measures import merge
from esm_viz.merge import METHODS, checked, knob_of, with_parameters
from esm_viz.search.alpha_search import with_alpha_found
from esm_viz.search.search_requirements import images_counted, need_measurable, rank_is_possible
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import question

MOST_CELLS = 400  # 20 x 20; more is a search's work
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
    seen: Callable[[Sweep], None] = unseen,
) -> Sweep:
    """Measure every cell of a grid over knobs, each stage run once per value of the knobs that it reads.

    Args:
        project: the opened project.
        recipe: of this project; knobs outside the grid stay as it has them.
        grid: values by knob; words too (alpha_scope: all, essential; alpha: search).
        split: labelled images to score on. None: validation where every task has it, since knobs are chosen by
            looking at a sweep; else test; else none, and the cells hold interference only, as for "none".
        limit: images a task, spread over its set; 0 = all.
        progress: progress, may raise Cancelled.
        seen: gets the sweep so far after each cell.

    Raises:
        RecipeError: the grid is wrong.
        NumericsError: one of its ranks is impossible.
        ImagesError: a task has no labelled images of that split, or there is nothing to measure by.
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
        scores = None
        if scored_on:
            scores = evaluate(project, own, scored_on, limit, inside.part(0.7, 1.0), oracle=False)
        return SweepCell(own.parameters, project.sha256(own), merged, scores, time.perf_counter() - start)

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
        )

    return record(measured(recipe, known, measure, progress, lambda cells: seen(record(cells))))


@question
def spaced(project: OpenedProject, recipe: Recipe, name: str, steps: int) -> tuple[Value, ...]:
    """Return values of a knob for a sweep: spread over its range, the recipe's own among them, none impossible.

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
    """Return a grid as the method reads it, in the order given.

    Args:
        recipe: whose method's knobs are swept.
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
    """Return every cell's recipe; the last knob varies fastest."""
    names = [name for name, _ in grid]
    return [
        with_parameters(recipe, **dict(zip(names, values, strict=True)))
        for values in product(*(values for _, values in grid))
    ]


def work_order(method: str, grid: Grid) -> list[int]:
    """Return the cells' indices in the order of work: the knob that wakes the earliest stage varies slowest.

    So what ρ and γ cost is paid once a value, and not once a cell, whatever the order of the grid.
    """
    stages, knobs = get_args(Stage), METHODS[method].knobs
    slowest_first = sorted(range(len(grid)), key=lambda at: stages.index(knobs[grid[at][0]].wakes))
    places = list(product(*(range(len(values)) for _, values in grid)))
    return sorted(range(len(places)), key=lambda cell: [places[cell][at] for at in slowest_first])


def spread_values(knob: Knob, own: Value, steps: int) -> tuple[Value, ...]:
    """Return values of a knob spread evenly over its range, on its steps, the recipe's own among them.

    The own value takes the place of the nearest one between the ends, so that the recipe's cell is on the grid and the
    grid no larger. A knob of words gives all of them.

    Args:
        knob: whose range.
        own: the recipe's value; a word that stands for a search (α) takes no place.
        steps: how many values, at least 3; fewer where the range has fewer.
    """
    if knob.range is None:
        return knob.choices
    least, most, step = knob.range
    places = [least + round(at * (most - least) / (steps - 1) / step) * step for at in range(steps)]
    values = list(dict.fromkeys(round(min(most, place), 10) for place in places))
    if not isinstance(own, str) and own not in values:
        values[min(range(1, len(values) - 1), key=lambda at: abs(values[at] - own), default=0)] = own
        values.sort()
    return tuple(checked(knob.label, value, knob) for value in values)


def measured(
    recipe: Recipe,
    grid: Grid,
    measure: Measure,
    progress: Progress,
    seen: Callable[[tuple[SweepCell, ...]], None] = unseen,
) -> tuple[SweepCell, ...]:
    """Measure every cell in the order of work and return them in the order of the grid.

    Args:
        recipe: knobs outside the grid stay as it has them.
        grid: as checked.
        measure: makes the cell of a recipe.
        progress: progress, may raise Cancelled.
        seen: gets all cells after each that was measured.
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
    """Write a knob's value the short way."""
    return value if isinstance(value, str) else f"{value:g}"


def _to_score_on(project: OpenedProject, split: Split | Literal["none"] | None) -> Split | None:
    """Return the split of a sweep: the one asked for, or the first of validation and test that every task has."""
    splits: tuple[Split, ...] = ("validation", "test")
    if split is None:
        return next((each for each in splits if project.has_labels(each)), None)
    return None if split == "none" else split
