"""The rows of the leaderboard: recipes that were on screen, and every method with its own α search."""

from __future__ import annotations

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Evaluation
from esm_viz.merge import METHODS
from esm_viz.project.leaderboard import agreement_standings, kept_board, standings
from esm_viz.project.project import Project
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session.session_jobs import keep, start
from esm_viz.ui.session.session_store import AgreementRow, BoardRow, Session

BOARD_PIECES = ("board", "bars", "routing")
COMPARING = "Comparing methods"
MOST_SET = 4  # rows of recipes that were on screen, besides A, B and those of all methods


def compare_all(session: Session) -> None:
    """Search α of every method, and measure each method on the test images or, without labels, on the proxies."""
    shown = session.recipe
    work = _on_test_images if session.project.has_labels("test") else _on_proxies
    start(session, COMPARING, lambda job: work(session, shown, job), "board", BOARD_PIECES)


def _on_test_images(session: Session, shown: Recipe, job: Job) -> None:
    for recipe, scores, seconds in standings(session.project, shown, job.progress):
        row = row_of(recipe, scores, seconds, searched=True)
        if not keep(session, job, BOARD_PIECES, lambda: add_row(session, row)):  # noqa: B023
            return


def _on_proxies(session: Session, shown: Recipe, job: Job) -> None:
    for recipe, found, seconds in agreement_standings(session.project, shown, job.progress):
        row = AgreementRow(title_of(recipe), recipe, found, seconds)

        def write() -> None:
            others = [old for old in session.agreement_board if old.title != row.title]  # noqa: B023
            session.agreement_board = [*others, row]  # noqa: B023

        if not keep(session, job, BOARD_PIECES, write):
            return


def comparing(session: Session) -> bool:
    """Say whether all methods are being compared."""
    return session.task is not None and session.task.running and session.task.what == COMPARING


def row_of(recipe: Recipe, scores: Evaluation, seconds: float | None = None, searched: bool = False) -> BoardRow:
    """Return a recipe's row."""
    return BoardRow(title_of(recipe), recipe, scores, searched, scores.seconds if seconds is None else seconds)


def title_of(recipe: Recipe) -> str:
    """Return the name of a recipe's row: its method, with the rank of its adapters if it has some."""
    title = METHODS[recipe.method].title
    return title + (f", rank {recipe.parameters['expert_rank']}" if "expert_rank" in recipe.parameters else "")


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
