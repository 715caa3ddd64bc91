"""The leaderboard: every method with the same search for its own α, measured on the same test images.

A board can be kept as `board.json` beside its recipe, so that a project opens with it. A kept row is believed only
where the recipe's identity (contents of all files, every knob) and the digest of test images and heads are today's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from esm_viz.core.errors import EsmVizError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Evaluation, Routing, Score, TaskScores
from esm_viz.merge import METHODS, with_method, with_parameters
from esm_viz.project.project import Project

KEPT = "board.json"
_SEARCH = 0.8  # about the share of a row's time that goes into its search


class Standing(NamedTuple):
    """One method's row: what was measured, and the seconds it took to merge, search α and measure (0: kept)."""

    recipe: Recipe
    evaluation: Evaluation
    seconds: float


def standings(project: Project, recipe: Recipe, progress: Progress = NO_PROGRESS) -> Iterator[Standing]:
    """Yield every method's row as it is measured: at its defaults, with its α searched on validation images.

    Args:
        project: whose models and images.
        recipe: of the project; its weights, dtype and seed hold for all methods.
        progress: progress, may raise Cancelled.
    """
    for at, method in enumerate(METHODS.values()):
        begun = time.perf_counter()
        inside = progress.part(at / len(METHODS), (at + 1) / len(METHODS), method.title)
        own = with_method(recipe, method.name)
        if method.searches_alpha:
            found = project.search_alpha(own, inside.part(0.0, _SEARCH))
            own = with_parameters(own, alpha=found.alpha)
        scores = project.evaluate(own, "test", progress=inside.part(_SEARCH, 1.0))
        yield Standing(own, scores, time.perf_counter() - begun)


def write_board(project: Project, rows: list[Standing], path: Path) -> None:
    """Keep a board: right answers per task and row, and of a routed row where its images went."""
    first = rows[0].evaluation
    board = {
        "test_images_sha256": project.labels_digest("test"),
        "tasks": [
            {
                "name": row.task,
                "n": row.merged.n,
                "pretrained": row.pretrained.correct,
                "finetuned": row.finetuned.correct,
            }
            for row in first.tasks
        ],
        "rows": [_row_json(row.evaluation) for row in rows],
    }
    path.write_text(json.dumps(board, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


def kept_board(project: Project) -> list[Standing]:
    """Return the rows kept beside a project's recipe that are about its files as they are; none without such a file."""
    path = project.recipe.folder / KEPT
    if not path.is_file() or not project.has_labels("test"):
        return []
    try:
        board = json.loads(path.read_text(encoding="utf-8"))
        if board["test_images_sha256"] != project.labels_digest("test"):
            return []
        rows = [_row(project, board["tasks"], raw) for raw in board["rows"]]
    except (OSError, ValueError, KeyError, TypeError, EsmVizError):  # written by another version, or by hand
        return []
    return [row for row in rows if row.evaluation.recipe_sha256 == project.sha256(row.recipe)]


def _row_json(record: Evaluation) -> dict[str, Any]:
    row: dict[str, Any] = {
        "method": record.method,
        "parameters": dict(record.parameters),
        "recipe_sha256": record.recipe_sha256,
        "merged": [score.correct for score in record.scores("merged")],
    }
    routing = record.routing
    if routing is not None:
        row["routing"] = {
            "layers": [layer.name for layer in routing.layers],
            "routes": routing.routes,
            "oracle": [score.correct for score in routing.oracle],
            "parameters": routing.parameters,
            "base_parameters": routing.base_parameters,
        }
    return row


def _row(project: Project, tasks: list[dict[str, Any]], raw: dict[str, Any]) -> Standing:
    recipe = with_parameters(with_method(project.recipe, raw["method"]), **raw["parameters"])
    scores = tuple(
        TaskScores(
            task["name"],
            Score(int(task["pretrained"]), int(task["n"])),
            Score(int(task["finetuned"]), int(task["n"])),
            Score(int(correct), int(task["n"])),
        )
        for task, correct in zip(tasks, raw["merged"], strict=True)
    )
    record = Evaluation(
        recipe_sha256=str(raw["recipe_sha256"]),
        method=recipe.method,
        alpha=float(recipe.parameters["alpha"]),
        parameters=recipe.parameters,
        split="test",
        tasks=scores,
        limit=0,
        seconds=0.0,
        routing=_routing(project, scores, raw["routing"]) if "routing" in raw else None,
    )
    return Standing(recipe, record, 0.0)


def _routing(project: Project, scores: tuple[TaskScores, ...], raw: dict[str, Any]) -> Routing:
    return Routing(
        project.tasks,
        tuple(project.layer(name) for name in raw["layers"]),
        tuple(tuple(tuple(float(share) for share in row) for row in layer) for layer in raw["routes"]),
        tuple(Score(int(correct), task.merged.n) for task, correct in zip(scores, raw["oracle"], strict=True)),
        int(raw["parameters"]),
        int(raw["base_parameters"]),
    )
