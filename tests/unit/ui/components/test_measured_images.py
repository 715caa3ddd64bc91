"""On which images an accuracy was measured, in words."""

from __future__ import annotations

from pathlib import Path

from esm_viz.figures import accuracy_figure
from esm_viz.project.project import Project
from esm_viz.ui.components.measured_images import images_in_all, images_of
from tests.support import tiny


def test_a_partial_measurement_says_of_how_many_and_looks_partial(tiny_folder: Path) -> None:
    project = Project.open(tiny.recipe(tiny_folder), device="cpu")
    some, every = (project.evaluate(project.recipe, "validation", limit, oracle=False) for limit in (2, 0))
    count = every.tasks[0].merged.n
    assert images_of(every, project) == f"{count} validation images a task"
    assert images_of(some, project) == f"2 of {count} validation images a task"
    faint, full = (accuracy_figure(each, in_all=images_in_all(each, project)) for each in (some, every))
    assert faint["data"][0]["marker"]["opacity"] < full["data"][0]["marker"]["opacity"]
    assert f"on 2 of {count} validation images a task" in faint["layout"]["xaxis"]["title"]["text"]
