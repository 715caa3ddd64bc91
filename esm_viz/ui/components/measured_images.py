"""The words that say on which images an accuracy was measured."""

from __future__ import annotations

from esm_viz.core.records import Evaluation
from esm_viz.figures.number_format import counted
from esm_viz.project.project import Project


def images_in_all(scores: Evaluation, project: Project) -> str:
    """Return the number of images per task that there are, if fewer were measured; empty if all were."""
    if not scores.limit:
        return ""
    labelled = project.headers.labelled[scores.split]
    measured = counted(task.merged.n for task in scores.tasks)
    every = counted(labelled[task.task].count for task in scores.tasks)
    return "" if every == measured else every


def images_of(scores: Evaluation, project: Project) -> str:
    """Return "256 validation images a task", or "32 of 256 validation images a task" for a partial measurement."""
    measured, every = counted(task.merged.n for task in scores.tasks), images_in_all(scores, project)
    return f"{measured}{f' of {every}' if every else ''} {scores.split} images a task"
