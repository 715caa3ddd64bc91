"""Rows of the leaderboard: what is on screen, and every method with its own search for α, on test images."""

from __future__ import annotations

from esm_viz.merge import METHODS, with_method, with_parameters
from esm_viz.ui.jobs import Job
from esm_viz.ui.running import keep, part, start
from esm_viz.ui.store import BoardRow, Session

BOARD = ("board", "bars", "alpha")


def evaluate_test(session: Session) -> None:
    """Measure the recipe on screen on the test images, if that has not been done."""
    recipe = session.recipe
    if any(row.recipe == recipe for row in session.board) or not session.project.has_labels("test"):
        return

    def work(job: Job) -> None:
        scores = session.project.evaluate(recipe, "test", 0, job.report)
        row = BoardRow(METHODS[recipe.method].title, recipe, scores, searched=False)
        keep(session, job, BOARD, lambda: _add_row(session, row))

    start(session, "Test images for B", work, "board", BOARD)


def compare_all(session: Session) -> None:
    """Give every method its own search for α on validation images, and measure each on the test images."""
    shown = session.recipe

    def work(job: Job) -> None:
        names = list(METHODS)
        for at, name in enumerate(names):
            title = METHODS[name].title
            inside = part(job.report, at / len(names), 1 / len(names), title)
            recipe = with_method(shown, name)
            if name != "averaging":  # α = 1 by definition
                found = session.project.search_alpha(recipe, part(inside, 0.0, 0.8, "searching α"))
                recipe = with_parameters(recipe, alpha=found.alpha)
            scores = session.project.evaluate(recipe, "test", 0, part(inside, 0.8, 0.2, "test images"))
            row = BoardRow(title, recipe, scores, searched=True)
            keep(session, job, BOARD, lambda: _add_row(session, row))  # noqa: B023

    start(session, "Comparing methods", work, "board", BOARD)


def _add_row(session: Session, row: BoardRow) -> None:
    same = [old for old in session.board if old.recipe != row.recipe]
    session.board = [old for old in same if not (row.searched and old.searched and old.title == row.title)] + [row]
