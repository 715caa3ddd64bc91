"""The demo's table, by the package's own evaluation: every method, α found on validation, accuracy on test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from esm_viz.inspection.recipe_file import load_recipe
from esm_viz.merge import METHODS, with_method, with_parameters
from esm_viz.project.project import Project

SHOWN = ("averaging", "task_arithmetic", "tsv_m", "esm")
ROWS = ("pre-trained", *SHOWN, "experts")

Table = dict[str, dict[str, Any]]


def measure(path: Path) -> Table:
    """Accuracy in per cent of each row and task, and the mean; α beside the methods that have one.

    Each method searches α alike, by the package's own search on the validation images.
    """
    recipe = load_recipe(path)
    project = Project.open(recipe, device="cpu")
    table: Table = {}
    for name in SHOWN:
        chosen = with_method(recipe, name)
        if METHODS[name].searches_alpha:
            chosen = project.with_alpha_found(with_parameters(chosen, alpha="search"))
        found = project.evaluate(chosen, "test")
        table[name] = {"alpha": found.alpha, **_row([(row.task, row.merged.accuracy) for row in found.tasks])}
    table["pre-trained"] = _row([(row.task, row.pretrained.accuracy) for row in found.tasks])
    table["experts"] = _row([(row.task, row.finetuned.accuracy) for row in found.tasks])
    return {row: table[row] for row in ROWS}


def recovered(table: Table, row: str) -> float:
    """Share, in per cent, of the gap between pre-trained and experts that a row recovers."""
    low, high = table["pre-trained"]["mean"], table["experts"]["mean"]
    return 100 * (table[row]["mean"] - low) / (high - low)


def as_text(table: Table) -> str:
    """The table for people."""
    tasks = list(table["experts"]["tasks"])
    lines = [f"{'':<16}{'α':>7}{'mean':>7}{'gap %':>7}  " + "".join(f"{task:>10}" for task in tasks)]
    for name, row in table.items():
        alpha = f"{row['alpha']:g}" if "alpha" in row else ""
        cells = "".join(f"{row['tasks'][task]:>10.1f}" for task in tasks)
        lines.append(f"{name:<16}{alpha:>7}{row['mean']:>7.1f}{recovered(table, name):>7.0f}  {cells}")
    return "\n".join(lines)


def over_seeds(tables: Sequence[Table]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over build seeds of each row's mean accuracy and recovered share."""
    summary = {}
    for row in ROWS:
        means = [table[row]["mean"] for table in tables]
        gaps = [recovered(table, row) for table in tables]
        summary[row] = {"mean": round(mean(means), 2), "recovered": round(mean(gaps), 1)}
        if len(tables) > 1:
            summary[row] |= {"mean_sd": round(stdev(means), 2), "recovered_sd": round(stdev(gaps), 1)}
    return summary


def _row(accuracies: Sequence[tuple[str, float]]) -> dict[str, Any]:
    tasks = {task: round(100 * accuracy, 2) for task, accuracy in accuracies}
    return {"mean": round(mean(tasks.values()), 2), "tasks": tasks}
