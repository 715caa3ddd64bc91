"""The leaderboard: every method with the same search for its own α, measured on the same images.

They are labelled test images or, without labels, the proxies, where KL(expert ‖ merged) ranks the methods.

A board can be kept as `board.json` beside its recipe, so that a project opens with it. A kept row is believed only
where the recipe's identity (contents of all files, every knob) and the digest of test images and heads are today's.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from esm_viz.core.errors import EsmVizError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Evaluation, ExpertAgreement
from esm_viz.merge import METHODS, with_method, with_parameters
from esm_viz.project.project import Project
from esm_viz.runtime.recorded_results import as_plain_data, restored
from esm_viz.search.search_objective import objective_of

KEPT = "board.json"
_FORMAT = 2  # of what is kept; a file of another one is left alone
_SEARCH = 0.8  # about the share of a row's time that goes into its search


@dataclass(frozen=True, slots=True)
class _Board:
    """What is kept: records as they were measured, and on which test images and heads."""

    format: int
    test_images_sha256: str
    rows: tuple[Evaluation, ...]


class LeaderboardEntry(NamedTuple):
    """One method's row: what was measured, and the seconds it took to merge, search α and measure (0: kept)."""

    recipe: Recipe
    evaluation: Evaluation
    seconds: float


class AgreementEntry(NamedTuple):
    """One method's row without labels: its agreement with the experts, and the seconds that it took."""

    recipe: Recipe
    agreement: ExpertAgreement
    seconds: float


def standings(project: Project, recipe: Recipe, progress: Progress = NO_PROGRESS) -> Iterator[LeaderboardEntry]:
    """Yield every method's row as it is measured: at its defaults, with its α searched on validation images.

    Args:
        project: whose models and images.
        recipe: of the project; its weights, dtype and seed hold for all methods.
        progress: progress, may raise Cancelled.
    """
    for own, begun, inside in _methods(project, recipe, progress):
        scores = project.evaluate(own, "test", progress=inside)
        yield LeaderboardEntry(own, scores, time.perf_counter() - begun)


def agreement_standings(project: Project, recipe: Recipe, progress: Progress = NO_PROGRESS) -> Iterator[AgreementEntry]:
    """Yield every method's row without labels, as `standings` does: its agreement with the experts on all proxies.

    Raises:
        ImagesError: a task has no proxies.
        HeadError: a task has no head; feature direction does not rank methods (METHOD, choosing without labels).
    """
    objective_of(project, alpha_alone=False)  # refuses before any method is merged
    for own, begun, inside in _methods(project, recipe, progress):
        found = project.agreement(own, 0, inside)
        yield AgreementEntry(own, found, time.perf_counter() - begun)


def _methods(project: Project, recipe: Recipe, progress: Progress) -> Iterator[tuple[Recipe, float, Progress]]:
    """Yield every method's recipe with its α searched, when that began, and the progress of what follows."""
    for at, method in enumerate(METHODS.values()):
        begun = time.perf_counter()
        inside = progress.part(at / len(METHODS), (at + 1) / len(METHODS), method.title)
        own = with_method(recipe, method.name)
        if method.searches_alpha:
            found = project.search_alpha(own, inside.part(0.0, _SEARCH))
            own = with_parameters(own, alpha=found.alpha)
        yield own, begun, inside.part(_SEARCH, 1.0)


def write_board(project: Project, rows: Sequence[LeaderboardEntry], path: Path) -> None:
    """Keep a board: every row's record, without the seconds, which are the machine's."""
    records = tuple(dataclasses.replace(row.evaluation, seconds=0.0) for row in rows)
    board = _Board(_FORMAT, project.labels_digest("test"), records)
    text = json.dumps(as_plain_data(board), ensure_ascii=False, separators=(",", ":"))
    path.write_text(text.replace('},{"recipe', '},\n{"recipe') + "\n", encoding="utf-8")


def kept_board(project: Project) -> list[LeaderboardEntry]:
    """Return the rows kept beside a project's recipe that are about its files as they are; none without such a file."""
    path = project.recipe.folder / KEPT
    if not path.is_file() or not project.has_labels("test"):
        return []
    try:
        board = restored(_Board, json.loads(path.read_text(encoding="utf-8")))
        if (board.format, board.test_images_sha256) != (_FORMAT, project.labels_digest("test")):
            return []
        rows = [LeaderboardEntry(_recipe_of(record, project.recipe), record, 0.0) for record in board.rows]
    except (OSError, ValueError, RecursionError, EsmVizError):  # written by another version, or by hand
        return []
    return [row for row in rows if row.evaluation.recipe_sha256 == project.sha256(row.recipe)]


def _recipe_of(record: Evaluation, recipe: Recipe) -> Recipe:
    return with_parameters(with_method(recipe, record.method), **record.parameters)
