"""The comparison of B with A on the Evaluate tab: both on all test images, flips of two models, confusions, routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import (
    REFERENCES,
    Difference,
    Flip,
    Flips,
    Reference,
    RoutedImage,
    RoutedImages,
    Routing,
)
from esm_viz.data.images.image_source import evenly_spaced
from esm_viz.project.project import Project
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.jobs.job_queue import LATER
from esm_viz.ui.session.session_jobs import failed, keep
from esm_viz.ui.session.session_store import BoardRow, Session
from esm_viz.ui.tabs.evaluate.compare_all_methods import BOARD_PIECES, add_row, row_of
from esm_viz.ui.tabs.merge.live_preview import WAIT_SECONDS

BOARD = (*BOARD_PIECES, "flips", "confusion", "routing")
CHOICES = ("a", "b", *REFERENCES)
SHOWN = 9  # thumbnails per row
ENLARGED = 224  # pixels of a clicked image; an image of fewer pixels keeps its own

Model = Recipe | Reference
Listed = TypeVar("Listed", Flip, RoutedImage)


@dataclass(frozen=True, slots=True)
class FlipsSeen:
    """The flips of one task with thumbnails of some, and the difference of B and A on all tasks."""

    flips: Flips
    right: tuple[tuple[Flip, bytes], ...]
    wrong: tuple[tuple[Flip, bytes], ...]
    difference: Difference


@dataclass(frozen=True, slots=True)
class RoutesSeen:
    """The images of one route with thumbnails of the first."""

    images: RoutedImages
    shown: tuple[tuple[RoutedImage, bytes], ...]


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


def row_on_screen(session: Session) -> BoardRow | None:
    """Return the leaderboard's row of the recipe on screen, if it is measured."""
    return next((row for row in session.board if row.recipe == session.recipe), None)


def routed_row(session: Session) -> tuple[BoardRow, Routing] | None:
    """Return B's routing, or that of a routed row of the leaderboard if B has none."""
    mine = row_on_screen(session)
    for row in [*([mine] if mine else []), *reversed(session.board)]:
        if row.evaluation.routing is not None:
            return row, row.evaluation.routing
    return None


def asked_routes(session: Session) -> tuple[Recipe, str, str, str] | None:
    """Return the routed recipe and the images' task, adapter and layer whose images should be shown; None for none."""
    found, route = routed_row(session), session.view.route
    if found is None or route is None or not set(route) <= set(session.project.tasks):
        return None
    names = [layer.name for layer in found[1].layers]
    return found[0].recipe, *route, session.view.routed if session.view.routed in names else ""


def fresh(session: Session, name: str) -> bool:
    """Say whether the measured flips, gains, confusion or images of a route are those that should be shown."""
    asked = {
        "flips": asked_flips,
        "confusion": asked_confusion,
        "gains": lambda s: s.recipe,
        "routes": asked_routes,
    }[name](session)
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
        names = ("flips", "gains", "confusion", *(["routes"] if asked_routes(session) else []))
        known = not missing and all(fresh(session, name) for name in names)
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
        routes = asked_routes(session)
    for recipe in recipes:
        scores = project.evaluate(recipe, "test", 0, job.progress.part(0.0, 0.7))
        if not keep(session, job, BOARD, lambda: add_row(session, row_of(recipe, scores))):  # noqa: B023
            return
    flips = project.flips(a, b, task, "test", 0, job.progress.part(0.7, 0.8, "flips"))
    right, wrong = (  # spread evenly over all flips, since images are listed by class
        _shown(project, task, every, evenly_spaced(len(every), SHOWN))
        for every in (flips.became_right, flips.became_wrong)
    )
    difference = project.difference(a, b, "test", 0, job.progress.part(0.8, 0.85, "differences"))
    seen = FlipsSeen(flips, right, wrong, difference)
    if not keep(session, job, ("flips",), lambda: session.comparison_records.update(flips=((a, b, task), seen))):
        return
    gains = project.difference("pretrained", b, "test", 0, job.progress.part(0.85, 0.9, "differences"))
    if not keep(session, job, ("bars",), lambda: session.comparison_records.update(gains=(b, gains))):
        return
    confusion = project.confusion(model, task, "test", 0, job.progress.part(0.9, 0.95, "confusion"))
    kept = {"confusion": ((model, task), confusion)}
    if not keep(session, job, ("confusion",), lambda: session.comparison_records.update(kept)) or routes is None:
        return
    routed, own, adapter, layer = routes
    images = project.routed_images(routed, own, adapter, layer, "test", 0, job.progress.part(0.95, 1.0, "routing"))
    first = range(min(SHOWN, len(images.images)))  # wrong predictions come first
    routes_seen = RoutesSeen(images, _shown(project, own, images.images, first))
    keep(session, job, ("routing",), lambda: session.comparison_records.update(routes=(routes, routes_seen)))


def enlarge_flip(session: Session, index: int) -> None:
    """Show a clicked flip with its own pixels; what is not on screen is ignored."""
    session.view.image = index
    _, seen = session.comparison_records.get("flips", (None, None))
    if seen is not None and any(flip.index == index for flip, _ in (*seen.right, *seen.wrong)):
        _enlarge(session, "enlarged_flip", seen.flips.task, index)


def enlarge_routed(session: Session, index: int) -> None:
    """Show a clicked image of the chosen route with its own pixels; what is not on screen is ignored."""
    session.view.routed_image = index
    _, seen = session.comparison_records.get("routes", (None, None))
    if seen is not None and any(image.index == index for image, _ in seen.shown):
        _enlarge(session, "enlarged_routed", seen.images.task, index)


def _enlarge(session: Session, name: str, task: str, index: int) -> None:
    """Decode a clicked image once, at the click."""
    png = session.project.labelled_thumbnails(task, "test", [index], ENLARGED)[0]
    session.comparison_records[name] = ((task, index), png)


def own_pixels(session: Session, name: str, task: str, index: int, otherwise: bytes) -> bytes:
    """Return the image enlarged at the last click if it is this one, else `otherwise`."""
    asked, png = session.comparison_records.get(name, (None, b""))
    return png if asked == (task, index) else otherwise


def _shown(
    project: Project, task: str, every: Sequence[Listed], some: Sequence[int]
) -> tuple[tuple[Listed, bytes], ...]:
    """Return some of the listed images with thumbnails."""
    chosen = [every[at] for at in some]
    images = project.labelled_thumbnails(task, "test", [each.index for each in chosen])
    return tuple(zip(chosen, images, strict=True))
