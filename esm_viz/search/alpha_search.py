"""α: the places of its curve, and the search for it: a coarse bracket, then golden section, on any number."""

from __future__ import annotations

import math
from collections.abc import Callable

from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import AlphaCurve, AlphaPoint, AlphaSearch, Evaluation, unseen
from esm_viz.evaluation.accuracy_measurement import evaluate, evaluate_to_normalise
from esm_viz.merge import METHODS, with_parameters
from esm_viz.search.search_requirements import images_counted
from esm_viz.stages.merged_model import known_alpha
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import question

START = (0.125, 0.25, 0.5, 1.0, 2.0)
"""A merge's best α lies within these by experience; where the first or last is best, the bracket goes on to the end."""
GOLDEN = (math.sqrt(5) - 1) / 2
WIDTH = 0.02  # of the last bracket; finer differences drown in the validation images' own noise
DIGITS = 3  # of an α: what is searched is what is written

INTERVALS = 12  # of α's range on its curve: 0.25 apart
CURVE_POINTS = INTERVALS + 2  # α of a curve: both ends of the range, what lies between, and the recipe's own
SEARCH_STEPS = 15  # about how many α a search visits, for its progress


@question
def alpha_curve(
    project: OpenedProject,
    recipe: Recipe,
    limit: int = 0,
    progress: Progress = NO_PROGRESS,
    seen: Callable[[Evaluation], None] = unseen,
) -> AlphaCurve:
    """Measure every task on validation images over the whole range of α, the recipe's own α among its points.

    Args:
        project: the opened project.
        recipe: of this project, with a number for α.
        limit: validation images a task, spread over its set; 0 = all.
        progress: progress, may raise Cancelled.
        seen: gets each point as it is measured, from coarse to fine.

    Raises:
        ImagesError: a task has no labelled validation images.
    """
    recipe = project.settled(recipe)
    project.scorer.need_labels("validation")
    alphas, curve = curve_alphas(_most_alpha(recipe), known_alpha(recipe)), AlphaCurve()
    for done, alpha in enumerate(alphas):
        inside = progress.part(done / len(alphas), (done + 1) / len(alphas), f"α {alpha:g}", fixed=True)
        point = evaluate(project, with_parameters(recipe, alpha=alpha), "validation", limit, inside, oracle=False)
        curve = curve.with_point(point)
        seen(point)
    return curve


@question
def search_alpha(
    project: OpenedProject,
    recipe: Recipe,
    progress: Progress = NO_PROGRESS,
    seen: Callable[[Evaluation], None] = unseen,
) -> AlphaSearch:
    """Find α on validation accuracy, each task normalised by its expert's (METHOD, ESM step 4).

    Args:
        project: the opened project.
        recipe: of this project; its own α does not matter.
        progress: progress, may raise Cancelled.
        seen: gets each step's evaluation as it is made.

    Raises:
        ImagesError: a task has no labelled validation images.
        HeadError: an expert is never right on its own, so that nothing can be normalised by it.
    """
    recipe = with_parameters(project.settled(recipe), alpha=1.0)
    project.scorer.need_labels("validation")
    visited = 0

    def measure(alpha: float) -> float:
        nonlocal visited
        start, end = (min(step / SEARCH_STEPS, 0.99) for step in (visited, visited + 1))
        inside = progress.part(start, end, f"trying α {alpha:g}", fixed=True)
        evaluation = evaluate_to_normalise(project, with_parameters(recipe, alpha=alpha), 0, inside)
        visited += 1
        seen(evaluation)
        return evaluation.mean_normalised

    best, trace = bracket_alpha(measure, _most_alpha(recipe))
    return AlphaSearch(best.alpha, best.normalised, trace, images_counted(project, "validation", 0))


@question
def with_alpha_found(project: OpenedProject, recipe: Recipe, progress: Progress = NO_PROGRESS) -> Recipe:
    """Return the recipe with `alpha: search` replaced by what the search finds; others unchanged."""
    recipe = project.settled(recipe)
    if recipe.parameters["alpha"] != "search":
        return recipe
    return with_parameters(recipe, alpha=search_alpha(project, recipe, progress).alpha)


def curve_alphas(most: float, own: float) -> tuple[float, ...]:
    """Return the α of a curve over [0, most]: the recipe's own first, then the range from coarse to fine.

    So the curve has its shape early, and each α is there once.
    """
    coarse_to_fine = (place for step in (12, 6, 3, 1) for place in range(0, INTERVALS + 1, step))
    return tuple(dict.fromkeys([own, *(round(most * place / INTERVALS, DIGITS) for place in coarse_to_fine)]))


def bracket_alpha(measure: Callable[[float], float], most: float) -> tuple[AlphaPoint, tuple[AlphaPoint, ...]]:
    """Maximise a number over α in [0, most] (METHOD, ESM step 4: α is found on validation accuracy).

    Accuracy is a staircase, so the best α *seen* is returned, the smallest of equals, and not where the section ends.
    An end of the range is looked at where the bracket reaches it: a section comes near its ends, never to them.

    Args:
        measure: mean normalised validation accuracy at an α; NaN counts as the lowest.
        most: upper end of α's range, above 0.

    Returns:
        The best point, and all points in the order visited.
    """
    seen: dict[float, float] = {}

    def look(alpha: float) -> float:
        alpha = round(alpha, DIGITS)
        if alpha not in seen:
            seen[alpha] = measure(alpha)
        return _height(seen[alpha])

    grid = [0.0, *(alpha for alpha in START if alpha < most), most]
    for alpha in grid[1:-1]:
        look(alpha)
    index = grid.index(_best(seen)) if seen else 1
    low, high = grid[index - 1], grid[min(index + 1, len(grid) - 1)]
    for end in (low, high):
        if end in (0.0, most):
            look(end)
    while high - low > WIDTH:
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        below, above = look(left), look(right)
        # of two points on one stair, the best one seen says where the climb is; on the top stair the section goes left
        if below > above or (below == above and _best(seen) <= right):
            high = right
        else:
            low = left
    best = _best(seen)
    return AlphaPoint(best, seen[best]), tuple(AlphaPoint(alpha, value) for alpha, value in seen.items())


def _best(seen: dict[float, float]) -> float:
    return min(seen, key=lambda alpha: (-_height(seen[alpha]), alpha))


def _height(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _most_alpha(recipe: Recipe) -> float:
    """Return the upper end of α's range, a number in every method."""
    reach = METHODS[recipe.method].knobs["alpha"].range
    assert reach is not None
    return reach[1]
