"""The search for α: a coarse bracket, then golden section, on whatever number is to be made large."""

from __future__ import annotations

import math
from collections.abc import Callable

from esm_viz.types import AlphaPoint

START = (0.125, 0.25, 0.5, 1.0, 2.0)
"""A merge's best α lies within these by experience; the bracket grows past the upper end while that is best."""
GOLDEN = (math.sqrt(5) - 1) / 2
WIDTH = 0.02  # of the last bracket; finer differences drown in the validation images' own noise
DIGITS = 3  # of an α: what is searched is what is written


def bracket_alpha(measure: Callable[[float], float], most: float) -> tuple[AlphaPoint, tuple[AlphaPoint, ...]]:
    """Maximise a number over α in (0, most] (METHOD, ESM step 4: α is found on validation accuracy).

    Accuracy is a staircase, so the best α *seen* is returned, the smallest of equals, and not where the section ends.

    Args:
        measure: mean normalised validation accuracy at an α.
        most: upper end of α's range.

    Returns:
        The best point, and all points in the order visited.
    """
    seen: dict[float, float] = {}

    def look(alpha: float) -> float:
        alpha = round(alpha, DIGITS)
        if alpha not in seen:
            seen[alpha] = measure(alpha)
        return seen[alpha]

    for alpha in START:
        if alpha <= most:
            look(alpha)
    grid = sorted(seen)
    best = _best(seen)
    index = grid.index(best)
    low = grid[index - 1] if index else 0.0
    high = grid[index + 1] if index + 1 < len(grid) else most
    while high - low > WIDTH:
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if look(left) >= look(right):
            high = right
        else:
            low = left
    best = _best(seen)
    return AlphaPoint(best, seen[best]), tuple(AlphaPoint(alpha, value) for alpha, value in seen.items())


def _best(seen: dict[float, float]) -> float:
    return min(seen, key=lambda alpha: (-seen[alpha], alpha))
