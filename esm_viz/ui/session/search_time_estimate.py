"""All estimates of times on the page, from measured times; NaN if nothing was measured yet.

Before anything is measured, `inspection/merge_cost_estimate.py` counts operations instead.
"""

from __future__ import annotations

import math

from esm_viz.core.records import Evaluation, ExpertAgreement
from esm_viz.figures.number_format import duration
from esm_viz.merge import METHODS
from esm_viz.search.alpha_search import SEARCH_STEPS
from esm_viz.ui.session.session_store import Session

FIRST = 3  # passes of a project's first evaluation: base, experts, merged; later ones need only the merged model


def evaluation_seconds(session: Session) -> float:
    """Return the seconds to measure the method on screen on all images that it is chosen by; NaN if none was measured.

    Cached scores take no time, so the slowest measured evaluation is used.
    """
    method, searches = session.recipe.method, session.searches
    seen: list[Evaluation | ExpertAgreement | None] = [state.evaluation for state in session.history[1:]]
    seen += searches.curve[1].points if searches.curve else ()
    seen += [cell.evaluation or cell.agreement for cell in searches.sweep[1].cells] if searches.sweep else []
    known = [each.seconds for each in seen if each is not None and each.method == method and not each.limit]
    if known:
        return max(known)
    if session.agreement and session.agreement[1].method == method and not session.project.has_labels("validation"):
        return session.agreement[1].seconds
    first = session.history[0].evaluation if session.history else None
    return first.seconds / FIRST if first is not None and first.method == method else math.nan


def trial_seconds(session: Session, searched: bool = False) -> float:
    """Return the seconds to merge and measure one recipe; NaN if unknown.

    Args:
        session: the session with the measured times.
        searched: whether α is searched too.
    """
    reports = [state.report for state in session.history] + ([session.report[1]] if session.report else [])
    same = [report.seconds for report in reports if report.method == session.recipe.method]
    merged = max(same, default=math.nan)  # what is cached takes no time, so the slowest merge is used
    return merged + evaluation_seconds(session) * (1 + SEARCH_STEPS if searched else 1)


def cell_seconds(session: Session, knobs: tuple[str, ...], searched: bool) -> float:
    """Return the seconds for a cell of a sweep, from the last sweep over these knobs or else as for one recipe.

    Args:
        session: the session with the measured times.
        knobs: the swept knobs, which decide which stages a cell recomputes.
        searched: whether α is searched in every cell.
    """
    held = session.searches.sweep
    if held is not None and tuple(name for name, _ in held[1].grid) == knobs:
        record = held[1]
        known = [cell.seconds for cell in record.cells if cell.reached]
        if known and record.method == session.recipe.method and (record.start["alpha"] == "search") == searched:
            return sum(known) / len(known)
    return trial_seconds(session, searched)


def alpha_search_seconds(session: Session) -> float:
    """Return the seconds of an α search of the recipe on screen, which is merged already."""
    return SEARCH_STEPS * evaluation_seconds(session)


def board_seconds(session: Session) -> float:
    """Return the seconds to compare all methods: what each took here before, or else as the method on screen."""
    own = {row.recipe.method: row.seconds for row in session.board if row.searched and not row.kept}
    own |= {row.recipe.method: row.seconds for row in session.agreement_board}
    one = trial_seconds(session, searched=True) + evaluation_seconds(session)  # the last one on test images
    return sum(own.get(method, one) for method in METHODS)


def export_seconds(session: Session) -> float:
    """Return the seconds to write and check the model: of the last export here, or else of what it measures.

    The report measures base, experts and merged model on test images, and decomposes once more for Explore's pictures;
    the written model is measured on all labelled images.
    """
    if session.proof is not None:
        return session.proof[1].seconds
    counts = {
        split: sum(labels.count for labels in labelled.values())
        for split, labelled in session.project.headers.labelled.items()
    }
    validation, test = counts["validation"], counts["test"]
    images = validation or (session.agreement[1].images if session.agreement else 0)
    if not images:
        return math.nan
    passes = validation + (FIRST + 1) * test or images
    return evaluation_seconds(session) * passes / images + session.project.inspection.seconds


def estimated(seconds: float) -> str:
    """Return an estimate in words, the only form of one on the page: about 12 s, under 1 s, a dash if unknown."""
    return f"about {duration(seconds)}" if seconds >= 1 else duration(seconds)


def about(seconds: float) -> str:
    """Return an estimate for the end of a button's label; empty if it is unknown or below a second."""
    return f", {estimated(seconds)}" if seconds >= 1 else ""
