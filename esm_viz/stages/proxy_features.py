"""Image features of the base, the experts and merged models on the tasks' unlabelled proxies, cached."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch
from torch import Tensor

from esm_viz.core.errors import ImagesError, NumericsError
from esm_viz.core.recipe import Recipe
from esm_viz.data.images.image_source import evenly_spaced
from esm_viz.families.routed_tower import RoutedTower
from esm_viz.families.vision_tower import encode
from esm_viz.stages.cached_predictions import Boundary, ScoredModel
from esm_viz.stages.opened_project import OpenedProject


class ModelFeatures(NamedTuple):
    """Features of one task's n proxies before any normalisation, (n, embed_dim) each, float32.

    Attributes:
        base: the pre-trained model's.
        expert: the task's own expert's.
        merged: the merged model's.
    """

    base: Tensor
    expert: Tensor
    merged: Tensor


def need_proxies(project: OpenedProject) -> None:
    """Raise if a task has no proxies.

    Raises:
        ImagesError: a task has none.
    """
    for task in project.tasks:
        if task not in project.headers.proxies:
            raise ImagesError(f"{task} has no proxies", "give up to 32 unlabelled images of it in the recipe")


def proxy_features(
    project: OpenedProject, recipe: Recipe, merged: ScoredModel, limit: int, boundary: Boundary
) -> tuple[ModelFeatures, ...]:
    """Return the features of every task's proxies, in the order of the tasks.

    Args:
        project: the opened project.
        recipe: a recipe of this project, whose seed draws the proxies.
        merged: the merged model.
        limit: proxies per task, spread evenly over those drawn; 0 = all.
        boundary: called after each batch with the number of its images; may raise to stop.

    Raises:
        ImagesError: a task has no proxies.
        NumericsError: features hold NaN or Inf.
    """
    need_proxies(project)
    scorer, tasks = project.scorer, project.tasks
    places = [evenly_spaced(len(_proxies(project, recipe, task)), limit) for task in tasks]
    keys = tuple(project.stages.proxy_key(recipe, task) for task in tasks)

    def chosen() -> Tensor:
        images = [_proxies(project, recipe, task)[at] for task, at in zip(tasks, places, strict=True)]
        return torch.cat(images)

    def all_of(task: str) -> Callable[[], Tensor]:
        return lambda: _proxies(project, recipe, task)

    together = _features(project, merged, (keys, limit), chosen, boundary)
    found = []
    for task, key, at, now in zip(tasks, keys, places, together.split([len(at) for at in places]), strict=True):
        before = _features(project, scorer.base(), (key,), all_of(task), boundary)[at]
        own = _features(project, scorer.expert(task), (key,), all_of(task), boundary)[at]
        found.append(ModelFeatures(before, own, now))
    return tuple(found)


def _proxies(project: OpenedProject, recipe: Recipe, task: str) -> Tensor:
    key = "proxies", *project.stages.proxy_key(recipe, task)
    return project.stages.cache.images.get(key, lambda: project.stages.proxies(recipe, task))


def _features(
    project: OpenedProject,
    model: ScoredModel,
    images: tuple[Hashable, ...],
    read: Callable[[], Tensor],
    boundary: Boundary,
) -> Tensor:
    """Return a model's features of some images, (n, embed_dim), float32, from the cache if possible."""

    def compute() -> Tensor:
        tower, done = model.make(), 0

        def count(now: int) -> None:
            nonlocal done
            boundary(now - done)
            done = now

        features = encode(tower, read(), count).cpu()
        if isinstance(tower, RoutedTower):
            tower.take_routes()  # of the proxies, which nobody asks for
        if not torch.isfinite(features).all():
            where = f"{model.title} on the proxies"
            raise NumericsError("the model's features hold NaN or Inf", "look for extreme weights, or lower α", where)
        return features

    return project.stages.cache.get(("proxy features", model.identity, images, project.device), compute)
