"""The pictures of an exported model's report: the studio's cards, as they were when the visitor started the export."""

from __future__ import annotations

import dataclasses
import threading
from typing import get_args

from esm_viz.core.errors import Cancelled, EsmVizError
from esm_viz.core.progress import Progress
from esm_viz.core.records import Split
from esm_viz.figures.html_page import Picture
from esm_viz.merge import METHODS
from esm_viz.report.html_report import Ranked, Story
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session.session_store import BoardRow, Session
from esm_viz.ui.tabs.evaluate import evaluate_tab
from esm_viz.ui.tabs.explore import explore_tab
from esm_viz.ui.tabs.explore.explore_tab import measure_selected
from esm_viz.ui.tabs.merge import merge_tab
from esm_viz.ui.tabs.tab_definition import Piece

TABS = (explore_tab.TAB, merge_tab.TAB, evaluate_tab.TAB)
HEIGHTS = {"map": 340, "interference": 360}  # px, of cards whose height is not 400

WAIT = 0.05  # seconds between two checks for slow pictures
SLOW_SHARE = 0.2  # of the whole job's progress


def snapshot(session: Session) -> Session:
    """Return a copy of the session, which later actions of the visitor do not change."""
    with session.lock:
        return dataclasses.replace(
            session,
            view=dataclasses.replace(session.view),
            history=list(session.history),
            board=list(session.board),
            explore_records=dict(session.explore_records),
            comparison_records=dict(session.comparison_records),
            errors={},
            touched={},
            pages={},
            explore_job=None,
            comparison_job=None,
            lock=threading.RLock(),
        )


def tell(seen: Session, job: Job, progress: Progress) -> Story:
    """Measure what the cards of the recipe still lack, and return the cards and the accuracy.

    Args:
        seen: a `snapshot`, which gets the results.
        job: the job that waits for them.
        progress: the job's progress after the slow pictures; may raise Cancelled.
    """
    project, recipe = seen.project, seen.recipe
    measure_selected(seen)
    _wait(seen, job)
    splits = [split for split in get_args(Split) if project.has_labels(split)]
    shown = {
        split: project.evaluate(recipe, split, progress=progress.part(at / 3, (at + 1) / 3), oracle=False)
        for at, split in enumerate(splits)
    }
    seen.report = (recipe, project.merge(recipe, progress.part(2 / 3, 1.0)))
    if "validation" in shown:
        seen.validation = (recipe, shown["validation"])
        if seen.pinned is not None and seen.pinned.recipe != recipe:
            pair = seen.pinned.recipe, recipe
            seen.difference = (*pair, project.difference(*pair, "validation", progress=job.progress))
    board = [Ranked(row.title, row.evaluation, row.searched) for row in seen.board]
    if "test" in shown and all(row.recipe != recipe for row in seen.board):
        seen.board.append(BoardRow(METHODS[recipe.method].title, recipe, shown["test"], searched=False))
    pictures = [picture for tab in TABS for piece in tab.pieces if (picture := _picture(piece, seen))]
    pinned = seen.pinned
    said = (
        f"State A in the pictures: {METHODS[pinned.recipe.method].title}, α {pinned.report.alpha:g}." if pinned else ""
    )
    ranked = board if len(board) > 1 else ()
    return Story(project.inspection, pictures, tuple(shown.values()), ranked, said, project.searched_on_test())


def _wait(seen: Session, job: Job) -> None:
    """Wait for the slow pictures; if the job is cancelled, they are cancelled too."""
    assert seen.explore_job is not None
    try:
        while seen.explore_job.alive:
            job.pause(WAIT)
            job.progress(SLOW_SHARE * seen.explore_job.fraction, seen.explore_job.words)
    except Cancelled:
        seen.explore_job.cancel()
        raise


def _picture(piece: Piece, seen: Session) -> Picture | None:
    """Return a card's picture; None if it has none or one of another recipe."""
    if piece.kind != "card":
        return None
    try:
        card = piece.paint(seen)
    except EsmVizError:  # the card shows the error on screen; the report has the other pictures
        return None
    if "figure" not in card or card.get("stale") or card.get("error") or card.get("held"):  # held: for another recipe
        return None
    return Picture(piece.name, card["title"], card["figure"], HEIGHTS.get(piece.name, 400), card.get("how", ""))
