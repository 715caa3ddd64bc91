"""The rows of the leaderboard: recipes that were on screen, and every method with its own α search, on test images."""

from __future__ import annotations

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Evaluation
from esm_viz.merge import METHODS
from esm_viz.project.leaderboard import kept_board, standings
from esm_viz.project.project import Project
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session.session_jobs import keep, start
from esm_viz.ui.session.session_store import BoardRow, Session

BOARD_PIECES = ("board", "bars", "routing")
COMPARING = "Comparing methods"
MOST_SET = 4  # rows of recipes that were on screen, besides A, B and those of all methods


def compare_all(session: Session) -> None:
    """Search α of every method on validation images, and measure each method on the test images."""
    shown = session.recipe

    def work(job: Job) -> None:
        for recipe, scores, seconds in standings(session.project, shown, job.progress):
            row = row_of(recipe, scores, seconds, searched=True)
            if not keep(session, job, BOARD_PIECES, lambda: add_row(session, row)):  # noqa: B023
                return

    start(session, COMPARING, work, "board", BOARD_PIECES)


def comparing(session: Session) -> bool:
    """Say whether all methods are being compared."""
    return session.task is not None and session.task.running and session.task.what == COMPARING


def row_of(recipe: Recipe, scores: Evaluation, seconds: float | None = None, searched: bool = False) -> BoardRow:
    """Return a recipe's row, with the rank of its adapters if it has some."""
    title = METHODS[recipe.method].title
    if "expert_rank" in recipe.parameters:
        title += f", rank {recipe.parameters['expert_rank']}"
    return BoardRow(title, recipe, scores, searched, scores.seconds if seconds is None else seconds)


def kept_rows(project: Project) -> list[BoardRow]:
    """Return the rows that were measured when the opening project was built."""
    return [
        BoardRow(row_of(recipe, scores).title, recipe, scores, searched=True, kept=True)
        for recipe, scores, _ in kept_board(project)
    ]


def add_row(session: Session, row: BoardRow) -> None:
    """Add a row to the leaderboard; it replaces the row of the same recipe, or of the same method's earlier search."""
    shown = [session.recipe, *([session.pinned.recipe] if session.pinned else [])]
    stays = [
        old
        for old in session.board
        if old.recipe != row.recipe and not (row.searched and old.searched and old.title == row.title)
    ]
    left = [at for at, old in enumerate(stays) if not old.searched and old.recipe not in shown][:-MOST_SET]
    session.board = [old for at, old in enumerate(stays) if at not in left] + [row]
