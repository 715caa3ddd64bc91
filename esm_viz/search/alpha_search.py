"""α: the places of its curve, and the search for it: a coarse bracket, then golden section, on any number."""

from __future__ import annotations

import math
from collections.abc import Callable

from esm_viz.core.records import AlphaPoint

START = (0.125, 0.25, 0.5, 1.0, 2.0)
"""A merge's best α lies within these by experience; where the first or last is best, the bracket goes on to the end."""
GOLDEN = (math.sqrt(5) - 1) / 2
WIDTH = 0.02  # of the last bracket; finer differences drown in the validation images' own noise
DIGITS = 3  # of an α: what is searched is what is written

INTERVALS = 12  # of α's range on its curve: 0.25 apart


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
