"""The α search (a coarse bracket, then golden section), and the curve over α of what it is searched by."""

from __future__ import annotations

import math
from collections.abc import Callable

from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import AlphaCurve, AlphaPoint, AlphaSearch, Evaluation, ExpertAgreement, ignore_record
from esm_viz.evaluation.accuracy_measurement import evaluate
from esm_viz.evaluation.agreement_measurement import agreement
from esm_viz.merge import METHODS, with_parameters
from esm_viz.search.search_objective import height_of, images_for_choice, measured_for_choice, objective_of
from esm_viz.stages.merged_model import known_alpha
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import question

START = (0.125, 0.25, 0.5, 1.0, 2.0)
"""The coarse steps; a merge's best α usually lies between them. If the first or last is best, the bracket continues."""
GOLDEN = (math.sqrt(5) - 1) / 2
WIDTH = 0.02  # of the last bracket; smaller differences are below the noise of the validation images
DIGITS = 3  # decimals of α, in the search and in recipes

INTERVALS = 12  # of the curve over α's range, 0.25 each
CURVE_POINTS = INTERVALS + 2  # both ends of the range, the points between, and the recipe's own α
SEARCH_STEPS = 15  # about the number of steps of a search, for its progress


@question
def alpha_curve(
    project: OpenedProject,
    recipe: Recipe,
    limit: int = 0,
    progress: Progress = NO_PROGRESS,
    seen: Callable[[Evaluation | ExpertAgreement], None] = ignore_record,
) -> AlphaCurve:
    """Measure over the whole range of α, and at the recipe's own, what α is searched by.

    That is every task's validation accuracy or, without labels, its agreement with the expert on proxies.

    Args:
        project: the opened project.
        recipe: a recipe of this project, with a number for α.
        limit: validation images or proxies per task, spread evenly over its set; 0 = all.
        progress: callback, may raise Cancelled.
        seen: called with each point as it is measured, from coarse to fine.

    Raises:
        ImagesError: tasks have neither labelled validation images nor proxies.
    """
    recipe = project.settled(recipe)
    labelled = objective_of(project, alpha_alone=True) == "normalised"
    alphas, curve = curve_alphas(_most_alpha(recipe), known_alpha(recipe)), AlphaCurve()
    for done, alpha in enumerate(alphas):
        inside = progress.part(done / len(alphas), (done + 1) / len(alphas), f"α {alpha:g}", fixed=True)
        own = with_parameters(recipe, alpha=alpha)
        point: Evaluation | ExpertAgreement = (
            evaluate(project, own, "validation", limit, inside, oracle=False)
            if labelled
            else agreement(project, own, limit, inside)
        )
        curve = curve.with_point(point)
        seen(point)
    return curve


@question
def search_alpha(
    project: OpenedProject,
    recipe: Recipe,
    progress: Progress = NO_PROGRESS,
    seen: Callable[[Evaluation | ExpertAgreement], None] = ignore_record,
) -> AlphaSearch:
    """Find the α with the highest mean of merged / expert validation accuracy (METHOD, ESM step 4).

    Without labels, it is the α with the least KL(expert ‖ merged) on the proxies or, without heads, with the highest
    feature direction (METHOD, choosing without labels).

    Args:
        project: the opened project.
        recipe: a recipe of this project; its own α is ignored.
        progress: callback, may raise Cancelled.
        seen: called with what was measured at each step.

    Raises:
        ImagesError: tasks have neither labelled validation images nor proxies.
        HeadError: an expert has a validation accuracy of 0, so accuracy cannot be divided by it.
    """
    recipe = with_parameters(project.settled(recipe), alpha=1.0)
    objective = objective_of(project, alpha_alone=True)
    visited = 0

    def measure(alpha: float) -> float:
        nonlocal visited
        start, end = (min(step / SEARCH_STEPS, 0.99) for step in (visited, visited + 1))
        inside = progress.part(start, end, f"trying α {alpha:g}", fixed=True)
        found = measured_for_choice(project, with_parameters(recipe, alpha=alpha), objective, 0, inside)
        visited += 1
        seen(found)
        return height_of(found)

    best, trace = bracket_alpha(measure, _most_alpha(recipe))
    return AlphaSearch(best.alpha, best.value, trace, images_for_choice(project, objective, 0), objective)


@question
def with_alpha_found(project: OpenedProject, recipe: Recipe, progress: Progress = NO_PROGRESS) -> Recipe:
    """Return the recipe with `alpha: search` replaced by the α that the search finds; other recipes unchanged."""
    recipe = project.settled(recipe)
    if recipe.parameters["alpha"] != "search":
        return recipe
    return with_parameters(recipe, alpha=search_alpha(project, recipe, progress).alpha)


def curve_alphas(most: float, own: float) -> tuple[float, ...]:
    """Return the values of α of a curve over [0, most]: first the recipe's own, then the range from coarse to fine.

    In this order, the curve shows its shape early. No value occurs twice.
    """
    coarse_to_fine = (place for step in (12, 6, 3, 1) for place in range(0, INTERVALS + 1, step))
    return tuple(dict.fromkeys([own, *(round(most * place / INTERVALS, DIGITS) for place in coarse_to_fine)]))


def bracket_alpha(measure: Callable[[float], float], most: float) -> tuple[AlphaPoint, tuple[AlphaPoint, ...]]:
    """Maximise a function of α over [0, most] (METHOD, ESM step 4: α is found on validation accuracy).

    Accuracy is a step function of α. So the best α that was measured is returned (of equal ones the smallest), not the
    point where golden section ends. An end of the range is measured if the bracket reaches it, since golden section
    never reaches the ends.

    Args:
        measure: returns the objective at an α; NaN counts as the lowest.
        most: upper end of α's range, above 0.

    Returns:
        The best point, and all points in the order measured.
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
    """Return the upper end of α's range in the recipe's method."""
    reach = METHODS[recipe.method].knobs["alpha"].range
    assert reach is not None
    return reach[1]
