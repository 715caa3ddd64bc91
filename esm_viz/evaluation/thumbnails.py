"""Some of a project's images as small PNG files."""

from __future__ import annotations

from collections.abc import Sequence

from esm_viz.core.errors import ImagesError
from esm_viz.core.records import Split
from esm_viz.data.images.image_source import THUMBNAIL, shrunk, to_png
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import question, recorded_question

MOST_THUMBNAILS = 64  # labelled images per call


@recorded_question
def thumbnails(project: OpenedProject, task: str, most: int) -> list[bytes]:
    """Return some of a task's proxies as PNG bytes."""
    shown = project.stages.proxies(project.recipe, project.known_task(task))[:most]
    return to_png(shown, project.headers.proxies[task].how)


@question
def labelled_thumbnails(
    project: OpenedProject, task: str, split: Split, indices: Sequence[int], side: int = THUMBNAIL
) -> list[bytes]:
    """Return some of a task's labelled images as PNG files, as the tower reads them but no larger than asked.

    Args:
        project: the opened project.
        task: name of the task.
        split: "validation" or "test".
        indices: indices in the labelled set, at most MOST_THUMBNAILS.
        side: largest width and height in pixels.

    Raises:
        ImagesError: there are no such images, or too many are requested.
    """
    project.scorer.need_labels(split)
    labelled = project.headers.labelled[split][project.known_task(task)]
    if len(indices) > MOST_THUMBNAILS or not all(0 <= index < labelled.count for index in indices):
        raise ImagesError(f"{task} has {labelled.count} {split} images", f"ask for at most {MOST_THUMBNAILS} of them")
    return to_png(shrunk(project.scorer.pictures(task, split, indices), side), labelled.how) if indices else []
