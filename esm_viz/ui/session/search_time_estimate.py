"""How long a search will take, from what was measured before: never a guess."""

from __future__ import annotations

import math

from esm_viz.search.alpha_search import SEARCH_STEPS
from esm_viz.ui.session.session_store import Session

FIRST = 3  # models that a project's first evaluation runs: base, experts and merged; later ones run the merged alone


def evaluation_seconds(session: Session) -> float:
    """Return what measuring the method on screen on all validation images takes; NaN before one was measured.

    A score that was known already takes no time, so the slowest one tells.
    """
    method, searches = session.recipe.method, session.searches
    seen = [state.evaluation for state in session.history[1:]]
    seen += searches.curve[1].points if searches.curve else ()
    seen += [cell.evaluation for cell in searches.sweep[1].cells] if searches.sweep else []
    known = [each.seconds for each in seen if each is not None and each.method == method and not each.limit]
    if known:
        return max(known)
    first = session.history[0].evaluation if session.history else None
    return first.seconds / FIRST if first is not None and first.method == method else math.nan


def trial_seconds(session: Session, searched: bool = False) -> float:
    """Return what one recipe takes to be merged and measured, without labels to be merged; NaN where unknown.

    Args:
        session: whose measurements tell.
        searched: with its own search for α.
    """
    merged = session.report[1].seconds if session.report else math.nan
    if not session.project.has_labels("validation"):
        return merged
    return merged + evaluation_seconds(session) * (1 + SEARCH_STEPS if searched else 1)


def cell_seconds(session: Session, knobs: tuple[str, ...], searched: bool) -> float:
    """Return what a cell of a sweep takes: as in the last one over these knobs, else as one recipe takes.

    Args:
        session: whose measurements tell.
        knobs: those that are swept; what a cell runs again depends on them.
        searched: with its own search for α.
    """
    held = session.searches.sweep
    if held is not None and tuple(name for name, _ in held[1].grid) == knobs:
        record = held[1]
        known = [cell.seconds for cell in record.cells if cell.reached]
        if known and record.method == session.recipe.method and (record.start["alpha"] == "search") == searched:
            return sum(known) / len(known)
    return trial_seconds(session, searched)


def about(seconds: float) -> str:
    """Write a duration for a button's label; nothing where it is unknown or below a second."""
    if math.isnan(seconds) or seconds < 1:
        return ""
    return f", about {seconds:.0f} s" if seconds < 100 else f", about {seconds / 60:.0f} min"
