"""Image features of the base, the experts and merged models on the tasks' unlabelled proxies, cached."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from esm_viz.core.errors import NumericsError
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
    project.stages.need_proxies(project.tasks)
    tasks, scorer = project.tasks, project.scorer
    counts = [len(_proxies(project, recipe, task)) for task in tasks]
    places = [evenly_spaced(count, limit) for count in counts]
    keys = tuple(project.stages.proxy_key(recipe, task) for task in tasks)

    every = [list(range(count)) for count in counts]

    def images(of: Sequence[str], at: Sequence[list[int]]) -> Callable[[], Tensor]:
        return lambda: torch.cat([_proxies(project, recipe, task)[own] for task, own in zip(of, at, strict=True)])

    now = _features(project, merged, (keys, limit), images(tasks, places), boundary).split([len(at) for at in places])
    before = _features(project, scorer.base(), (keys, 0), images(tasks, every), boundary).split(counts)
    found = []
    for nth, (task, at) in enumerate(zip(tasks, places, strict=True)):
        expert = _features(project, scorer.expert(task), (keys[nth],), images([task], [every[nth]]), boundary)
        found.append(ModelFeatures(before[nth][at], expert[at], now[nth]))
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
