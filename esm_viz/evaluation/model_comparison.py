"""Comparisons of models on labelled images: the confusion of one model, flips and differences between two."""

from __future__ import annotations

from esm_viz.core.errors import RecipeError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import REFERENCES, Confusion, Difference, Flips, Reference, RoutedImages, Split
from esm_viz.data.images.image_source import evenly_spaced
from esm_viz.evaluation import prediction_comparison
from esm_viz.families.routed_tower import routed_layers
from esm_viz.stages.cached_predictions import Predictions, ScoredModel
from esm_viz.stages.merged_model import known_alpha, tower
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import question


@question
def confusion(
    project: OpenedProject,
    model: Recipe | Reference,
    task: str,
    split: Split = "test",
    limit: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Confusion:
    """Return the confusion matrix of a model on a task; predictions that `evaluate` has made are reused.

    Args:
        project: the opened project.
        model: a recipe of this project, "pretrained", or "finetuned" for the task's own expert.
        task: name of the task.
        split: "validation" or "test".
        limit: number of images, spread evenly over the set; 0 = all.
        progress: callback, may raise Cancelled.

    Raises:
        ImagesError: a task has no labelled images of that split.
    """
    chosen = predictions(project, model, project.known_task(task), split, limit, progress).chosen
    classes, labels = project.scorer.classes(task, split), project.scorer.labels(task, split, limit)
    return prediction_comparison.confusion(task, split, classes, labels, chosen)


@question
def flips(
    project: OpenedProject,
    a: Recipe | Reference,
    b: Recipe | Reference,
    task: str,
    split: Split = "test",
    limit: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Flips:
    """Return the images of a task on which only A or only B is right; `a` and `b` are models as in `confusion`."""
    scorer, task = project.scorer, project.known_task(task)
    before = predictions(project, a, task, split, limit, progress.part(0.0, 0.5))
    now = predictions(project, b, task, split, limit, progress.part(0.5, 1.0))
    classes, labels = scorer.classes(task, split), scorer.labels(task, split, limit)
    return prediction_comparison.flips(task, split, classes, labels, before, now)


@question
def routed_images(
    project: OpenedProject,
    recipe: Recipe,
    task: str,
    adapter: str,
    layer_name: str = "",
    split: Split = "test",
    limit: int = 0,
    progress: Progress = NO_PROGRESS,
) -> RoutedImages:
    """Return the images of a task that a recipe of ESM++ routes to one task's adapter.

    Args:
        project: the opened project.
        recipe: a recipe of this project with routed layers.
        task: the images' own task.
        adapter: the task of the adapter.
        layer_name: open_clip's name of a routed layer; empty for all of them.
        split: "validation" or "test".
        limit: number of images, spread evenly over the set; 0 = all.
        progress: callback, may raise Cancelled.

    Raises:
        ImagesError: a task has no labelled images of that split.
        RecipeError: the recipe has no routed layer, or none of that name.
    """
    scorer, task, adapter = project.scorer, project.known_task(task), project.known_task(adapter)
    settled = project.settled(recipe)
    if "routed" not in settled.parameters:
        raise RecipeError(f"{settled.method} routes no images", "use esmpp")
    names = tuple(layer.name for layer in routed_layers(project.layers, str(settled.parameters["routed"])))
    if layer_name not in ("", *names):
        raise RecipeError(f"{layer_name!r:.60} is no routed layer", f"use {', '.join(names)}")
    found = predictions(project, settled, task, split, limit, progress)
    routes = found.routes if layer_name == "" else found.routes[[names.index(layer_name)]]
    classes, labels = scorer.classes(task, split), scorer.labels(task, split, limit)
    own = prediction_comparison.routed_images(found, routes, labels, project.tasks.index(adapter))
    return RoutedImages(task, adapter, split, (layer_name,) if layer_name else names, classes, len(labels), own)


@question
def difference(
    project: OpenedProject,
    a: Recipe | Reference,
    b: Recipe | Reference,
    split: Split = "test",
    limit: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Difference:
    """Return B's accuracy minus A's per task and on average, with paired intervals; models as in `confusion`."""
    pairs, count = [], len(project.tasks)
    for at, task in enumerate(project.tasks):
        part = progress.part(at / count, (at + 1) / count)
        before = predictions(project, a, task, split, limit, part.part(0.0, 0.5))
        now = predictions(project, b, task, split, limit, part.part(0.5, 1.0))
        pairs.append(prediction_comparison.paired(project.scorer.labels(task, split, limit), before, now))
    return Difference(split, project.tasks, tuple(pairs))


def predictions(
    project: OpenedProject, model: Recipe | Reference, task: str, split: Split, limit: int, progress: Progress
) -> Predictions:
    """Return a model's predictions for a task's labelled images.

    Raises:
        ImagesError: a task has no labelled images of that split.
        RecipeError: there is no such model.
    """
    scorer = project.scorer
    scorer.need_labels(split)
    if isinstance(model, Recipe):
        own = project.settled(model)
        known_alpha(own)
        contestant = ScoredModel((project.canonical(own),), lambda: tower(project, own, progress.part(0.0, 0.5)))
    elif model in REFERENCES:
        contestant = scorer.base() if model == "pretrained" else scorer.expert(task)
    else:
        raise RecipeError(f"there is no model {model!r}", f"give a recipe, or {' or '.join(REFERENCES)}")
    asked, predicting = len(evenly_spaced(project.headers.labelled[split][task].count, limit)), progress.part(0.5, 1.0)
    done = 0

    def boundary(images: int) -> None:
        nonlocal done
        done += images
        predicting(done / asked, f"{task}, {split} images")

    return scorer.predictions(contestant, task, split, limit, boundary)
