"""The comparison of B with A on the Evaluate tab: both on all test images, flips between two models, confusions."""

from __future__ import annotations

from dataclasses import dataclass

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import REFERENCES, Difference, Flip, Flips, Reference
from esm_viz.data.images.image_source import evenly_spaced
from esm_viz.project.project import Project
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.jobs.job_queue import LATER
from esm_viz.ui.session.session_jobs import failed, keep
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.tabs.evaluate.compare_all_methods import BOARD_PIECES, add_row, row_of
from esm_viz.ui.tabs.merge.live_preview import WAIT_SECONDS

BOARD = (*BOARD_PIECES, "flips", "confusion", "routing")
CHOICES = ("a", "b", *REFERENCES)
SHOWN = 9  # thumbnails per row
ENLARGED = 224  # pixels of a clicked image; an image of fewer pixels keeps its own

Model = Recipe | Reference


@dataclass(frozen=True, slots=True)
class FlipsSeen:
    """The flips of one task with thumbnails of some, and the difference of B and A on all tasks."""

    flips: Flips
    right: tuple[tuple[Flip, bytes], ...]
    wrong: tuple[tuple[Flip, bytes], ...]
    difference: Difference


def task_of(session: Session) -> str:
    """Return the task of flips and confusion."""
    tasks = session.project.tasks
    return session.view.task if session.view.task in tasks else tasks[0]


def choice_of(session: Session, choice: str) -> str:
    """Return the choice of a model to compare, with the pre-trained model in place of A if nothing is pinned."""
    return "pretrained" if choice == "a" and session.pinned is None else choice


def model_of(session: Session, choice: str) -> Model:
    """Return the model of a choice."""
    choice = choice_of(session, choice)
    if choice == "a" and session.pinned:
        return session.pinned.recipe
    return "pretrained" if choice == "pretrained" else "finetuned" if choice == "finetuned" else session.recipe


def asked_flips(session: Session) -> tuple[Model, Model, str]:
    """Return the two models and the task that the flips should show."""
    return model_of(session, session.view.against), session.recipe, task_of(session)


def asked_confusion(session: Session) -> tuple[Model, str]:
    """Return the model and the task that the confusion should show."""
    return model_of(session, session.view.confused), task_of(session)


def fresh(session: Session, name: str) -> bool:
    """Say whether the measured flips or confusion are those that should be shown."""
    asked = {"flips": asked_flips, "confusion": asked_confusion, "gains": lambda s: s.recipe}[name](session)
    return name in session.comparison_records and session.comparison_records[name][0] == asked


def compare_models(session: Session, wait: float = 0.0) -> None:
    """Measure A and B on the test images, and compute flips and confusions; this cancels an earlier such job.

    Args:
        session: the visitor's session.
        wait: seconds to wait for the result before the page is answered.
    """
    with session.lock:
        if session.comparison_job is not None:
            session.comparison_job.cancel()
        missing = any(_row_missing(session, recipe) for recipe in _recipes(session))
        known = not missing and all(fresh(session, name) for name in ("flips", "gains", "confusion"))
        if known or not session.project.has_labels("test"):
            return
        session.errors.pop("flips", None)
        session.comparison_job = job = Job("Test images", tells=True, owner=session.id, urgency=LATER)
    job.start(lambda job: _look(session, job), lambda text: failed(session, "flips", text, BOARD))
    job.first.wait(wait)


def compare_models_and_wait(session: Session) -> None:
    """Call `compare_models` and wait a moment, since the results may be cached."""
    compare_models(session, WAIT_SECONDS)


def _recipes(session: Session) -> tuple[Recipe, ...]:
    return (session.recipe, session.pinned.recipe) if session.pinned else (session.recipe,)


def _row_missing(session: Session, recipe: Recipe) -> bool:
    """Say whether a recipe has no row yet; a row from the demo's build counts."""
    return all(row.recipe != recipe for row in session.board)


def _look(session: Session, job: Job) -> None:
    with session.lock:
        project, recipes = session.project, [r for r in _recipes(session) if _row_missing(session, r)]
        (a, b, task), (model, _) = asked_flips(session), asked_confusion(session)
    for recipe in recipes:
        scores = project.evaluate(recipe, "test", 0, job.progress.part(0.0, 0.7))
        if not keep(session, job, BOARD, lambda: add_row(session, row_of(recipe, scores))):  # noqa: B023
            return
    flips = project.flips(a, b, task, "test", 0, job.progress.part(0.7, 0.8, "flips"))
    right, wrong = (_shown(project, task, every) for every in (flips.became_right, flips.became_wrong))
    difference = project.difference(a, b, "test", 0, job.progress.part(0.8, 0.85, "differences"))
    seen = FlipsSeen(flips, right, wrong, difference)
    if not keep(session, job, ("flips",), lambda: session.comparison_records.update(flips=((a, b, task), seen))):
        return
    gains = project.difference("pretrained", b, "test", 0, job.progress.part(0.85, 0.9, "differences"))
    if not keep(session, job, ("bars",), lambda: session.comparison_records.update(gains=(b, gains))):
        return
    confusion = project.confusion(model, task, "test", 0, job.progress.part(0.9, 1.0, "confusion"))
    keep(session, job, ("confusion",), lambda: session.comparison_records.update(confusion=((model, task), confusion)))


def enlarge(session: Session, index: int) -> None:
    """Show a clicked flip with its own pixels, which are decoded once at the click; images not shown are ignored."""
    session.view.image = index
    _, seen = session.comparison_records.get("flips", (None, None))
    if seen is not None and any(flip.index == index for flip, _ in (*seen.right, *seen.wrong)):
        task = seen.flips.task
        png = session.project.labelled_thumbnails(task, "test", [index], ENLARGED)[0]
        session.comparison_records["enlarged"] = ((task, index), png)


def _shown(project: Project, task: str, every: tuple[Flip, ...]) -> tuple[tuple[Flip, bytes], ...]:
    """Return some flips with thumbnails, spread evenly over all flips, since images are listed by class."""
    some = [every[at] for at in evenly_spaced(len(every), SHOWN)]
    images = project.labelled_thumbnails(task, "test", [flip.index for flip in some])
    return tuple(zip(some, images, strict=True))
