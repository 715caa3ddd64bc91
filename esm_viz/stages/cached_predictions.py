"""Cached predictions of base, experts and merged models on labelled images, and accuracy from them.

Every prediction is kept, so scores, confusions and flips of a model on a task need one forward pass together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from esm_viz.checkpoints.checkpoint import Checkpoint, sha256_path
from esm_viz.core.errors import HeadError, ImagesError, NumericsError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe, sha256_text
from esm_viz.core.records import Routing, Score, Split, TaskScores
from esm_viz.data.class_labels import told_apart
from esm_viz.data.images.image_source import ImageSet, ReadImages, evenly_spaced
from esm_viz.families.classification_head import Head
from esm_viz.families.routed_tower import RoutedTower
from esm_viz.families.vision_tower import encode
from esm_viz.inspection.opened_files import Headers
from esm_viz.runtime.stage_cache import StageCache

Boundary = Callable[[int], None]
_CHUNK = 256  # images decoded and kept together


class Predictions(NamedTuple):
    """A model's predictions for n images.

    Attributes:
        chosen: predicted classes, (n,), int32.
        probabilities: softmax probability that the model gives to its prediction, (n,), float32 (see `Head.answers`).
        routes: task of the adapter of every image at every routed layer, (layers, n), int32; no rows without adapters.
        places: index of each image in the labelled set, n of them.
    """

    chosen: Tensor
    probabilities: Tensor
    routes: Tensor
    places: tuple[int, ...]


class ScoredModel(NamedTuple):
    """A model to be scored: the cache key of its predictions, a function that makes its tower, and its title."""

    identity: tuple[Hashable, ...]
    make: Callable[[], nn.Module]
    title: str = "the merged model"


def predict(
    tower: nn.Module,
    head: Head,
    batches: Iterator[ReadImages],
    boundary: Boundary = lambda images: None,
    where: str = "",
) -> Predictions:
    """Return a model's predictions for all images.

    Args:
        tower: the model, routed or not.
        head: the task's head.
        batches: batches of at least one image.
        boundary: called after each batch with its number of images; may raise to stop.
        where: the model and images, for error messages.

    Raises:
        NumericsError: the features hold NaN or Inf.
    """
    if isinstance(tower, RoutedTower):
        tower.take_routes()  # discards routes of earlier images
    chosen: list[Tensor] = []
    probabilities: list[Tensor] = []
    places: list[int] = []
    device = next(tower.parameters()).device
    for read in batches:
        features = encode(tower, read.on(device))
        if not torch.isfinite(features).all():  # argmax would give a meaningless prediction
            raise NumericsError("the model's features hold NaN or Inf", "look for extreme weights, or lower α", where)
        answers, sure = head.answers(features)
        chosen.append(answers.to(torch.int32))
        probabilities.append(sure)
        places += read.kept
        boundary(len(read.kept))
    predicted = torch.cat(chosen)
    routes = tower.take_routes() if isinstance(tower, RoutedTower) else torch.zeros(0, len(predicted))
    return Predictions(predicted, torch.cat(probabilities), routes.to(torch.int32), tuple(places))


@dataclass(frozen=True)
class Scorer:
    """Predictions on one project's labelled images, cached by the model's identity (for merged models, the recipe's).

    Images that cannot be read are skipped for all models and not counted.

    Attributes:
        recipe: the project's recipe, to resolve paths.
        headers: the opened files.
        digests: SHA-256 by path as the recipe writes it.
        device: device on which towers run.
        cache: the cache of all stages.
    """

    recipe: Recipe
    headers: Headers
    digests: Mapping[str, str]
    device: str
    cache: StageCache
    _hashed: dict[Path, str] = field(default_factory=dict, repr=False)
    _places: dict[tuple[str, Split, int], tuple[int, ...]] = field(default_factory=dict, repr=False)

    def has_labels(self, split: Split) -> bool:
        """Say whether every task has labelled images of a split."""
        return set(self.headers.labelled[split]) == set(self.recipe.tasks)

    def need_labels(self, split: Split) -> None:
        """Raise if a task has no labelled images of a split, or no head.

        Raises:
            ImagesError: a task has no labelled images of it.
            HeadError: a task has no head.
        """
        for task in self.recipe.tasks:
            if task not in self.headers.labelled[split]:
                raise ImagesError(f"{task} has no labelled {split} images", f"give `{split}` and `head` in the recipe")
            if task not in self.headers.heads:
                raise HeadError(f"{task} has no head", "give `head` in the recipe")

    def labels_digest(self, split: Split) -> str:
        """Return one digest of all labelled images of a split and of their tasks' heads."""
        parts = [
            f"{self._images_digest(model.name, split)} {self.headers.heads[model.name].digest}"
            + (f" {json.dumps(model.classes)}" if model.classes else "")
            for model in self.recipe.models
        ]
        return sha256_text("\n".join(parts))

    def tower(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Return a tower with these weights that runs in float32 on the device."""
        return self.headers.arch.tower(
            {name: tensor.to(self.device, torch.float32) for name, tensor in weights.items()}
        )

    def table(
        self, merged: nn.Module, identity: str, split: Split, limit: int, progress: Progress
    ) -> tuple[TaskScores, ...]:
        """Score base, experts and merged model on every task.

        Args:
            merged: the merged tower, with adapters or without.
            identity: the recipe's canonical JSON, the cache key of the merged model's predictions.
            split: split of the labelled images.
            limit: images per task; 0 = all.
            progress: callback, may raise Cancelled.
        """
        rows = []
        for at, task in enumerate(self.recipe.tasks):
            boundary = self._counting(progress, at, task, split, limit, 3, "images")
            models = (self.base(), self.expert(task), ScoredModel((identity,), lambda: merged))
            rows.append(TaskScores(task, *(self.score(model, task, split, limit, boundary) for model in models)))
        return tuple(rows)

    def routing(
        self, tower: RoutedTower, identity: str, split: Split, limit: int, oracle: bool, progress: Progress
    ) -> Routing:
        """Return the routing of every task's images, and the scores with oracle routing.

        Args:
            tower: the routed model.
            identity: the recipe's canonical JSON, the cache key of the predictions.
            split: split of the labelled images.
            limit: images per task; 0 = all.
            oracle: whether to also score each task's images with their own task's adapters.
            progress: callback, may raise Cancelled.
        """
        tasks, told, chosen = self.recipe.tasks, [], []
        for at, task in enumerate(tasks):
            boundary = self._counting(progress, at, task, split, limit, 1, "images with oracle routing")
            found = self.predictions(ScoredModel((identity,), lambda: tower), task, split, limit, boundary)
            chosen.append(torch.stack([(found.routes == s).double().mean(1) for s in range(len(tasks))], 1))
            if oracle:
                with tower.sent_to(at):
                    model = ScoredModel((identity, "oracle", at), lambda: tower)
                    told.append(self.score(model, task, split, limit, boundary))
        named = {layer.name: layer for layer in self.headers.arch.layers}
        return Routing(
            tasks,
            tuple(named[name] for name in tower.layers),
            tuple(tuple(map(tuple, layer)) for layer in torch.stack(chosen, 1).tolist()),  # (layers, T, T)
            tuple(told),
            tower.adapter_parameters,
            tower.base_parameters,
        )

    def alone(self, which: Literal["pretrained", "finetuned"], split: Split, progress: Progress) -> dict[str, Score]:
        """Score the base, or each task's own expert, on every task that has labelled images.

        Args:
            which: the base or the experts.
            split: split of the labelled images; all of them are used.
            progress: callback, may raise Cancelled.
        """
        found = {}
        for at, task in enumerate(self.recipe.tasks):
            if task in self.headers.labelled[split]:
                boundary = self._counting(progress, at, task, split, 0, 1, "images")
                model = self.base() if which == "pretrained" else self.expert(task)
                found[task] = self.score(model, task, split, 0, boundary)
        return found

    def score_tower(self, tower: nn.Module, split: Split, progress: Progress = NO_PROGRESS) -> tuple[Score, ...]:
        """Score a tower from outside the project on all images of a split, without using the cache."""
        tower, found = tower.to(self.device), []
        for at, task in enumerate(self.recipe.tasks):
            boundary = self._counting(progress, at, task, split, 0, 1, "images of the file")
            where = f"the file on the {split} images of {task}"
            asked = predict(tower, self.headers.heads[task], self._batches(task, split, 0), boundary, where)
            found.append(self._scored(asked, task, split, 0))
        return tuple(found)

    def base(self) -> ScoredModel:
        """Return the base."""
        identity = self.recipe.arch, self.digests[self.recipe.base]
        return ScoredModel(identity, lambda: self._stored(self.headers.base), "the base")

    def expert(self, task: str) -> ScoredModel:
        """Return the expert of a task."""
        path = next(model.path for model in self.recipe.models if model.name == task)
        identity = self.recipe.arch, self.digests[self.recipe.base], self.digests[path]
        return ScoredModel(identity, lambda: self._stored(self.headers.experts[task]), task)

    def predictions(
        self, model: ScoredModel, task: str, split: Split, limit: int, boundary: Boundary = lambda images: None
    ) -> Predictions:
        """Return a model's predictions for a task's labelled images, from the cache if possible."""
        head = self.headers.heads[task]
        key = ("predictions", model.identity, self._images_digest(task, split), head.digest, split, limit, self.device)
        where = f"{model.title} on the {split} images of {task}"
        batches = self._batches(task, split, limit)
        found = self.cache.get(key, lambda: predict(model.make(), head, batches, boundary, where))
        self._places[task, split, limit] = found.places
        self._listed(task, split).remember(evenly_spaced(self._listed(task, split).count, limit), found.places)
        return found

    def score(self, model: ScoredModel, task: str, split: Split, limit: int, boundary: Boundary) -> Score:
        """Count a model's right predictions."""
        return self._scored(self.predictions(model, task, split, limit, boundary), task, split, limit)

    def labels(self, task: str, split: Split, limit: int = 0) -> Tensor:
        """Return the true class of each image in `predictions`, (n,), int64."""
        labels = self._listed(task, split).labels
        assert labels is not None  # labelled sets have labels
        return labels[self.places(task, split, limit)]

    def commonest(self, task: str, split: Split, limit: int = 0) -> int:
        """Return how many of the images that `predictions` is about have the class that most of them have."""
        return int(self.labels(task, split, limit).bincount().max())

    def places(self, task: str, split: Split, limit: int = 0) -> list[int]:
        """Return the index in the labelled set of each image in `predictions`."""
        if (task, split, limit) not in self._places:
            found = [self._read(task, split, chunk).kept for chunk in self._chunks(task, split, limit)]
            self._places[task, split, limit] = tuple(place for kept in found for place in kept)
        return list(self._places[task, split, limit])

    def classes(self, task: str, split: Split) -> tuple[str, ...]:
        """Return the names of a task's classes, from the head or the class folders; numbers if neither has names."""
        head = self.headers.heads[task]
        numbers = tuple(f"class {row}" for row in range(len(head.weight)))
        return told_apart(head.classes or self._listed(task, split).classes or numbers)

    @property
    def image_digests(self) -> frozenset[str]:
        """Return the digests of the labelled images that were asked for so far."""
        return frozenset(self._hashed.values())

    def pictures(self, task: str, split: Split, indices: Sequence[int]) -> Tensor:
        """Return some of a task's labelled images, preprocessed, (k, 3, H, W)."""
        return self._listed(task, split).load(indices)

    def _stored(self, checkpoint: Checkpoint) -> nn.Module:
        return self.tower(checkpoint.tensors(self.headers.arch.shapes, torch.float32))

    def _scored(self, found: Predictions, task: str, split: Split, limit: int) -> Score:
        labels = self.labels(task, split, limit)
        return Score(int((found.chosen == labels).sum()), len(labels))

    def same_images(self, task: str) -> bool:
        """Say whether a task's validation and test images are the same."""
        return self._images_digest(task, "validation") == self._images_digest(task, "test")

    def _images_digest(self, task: str, split: Split) -> str:
        """Return the digest of a task's labelled images; they are hashed at the first call."""
        model = next(model for model in self.recipe.models if model.name == task)
        path = self.recipe.resolve(model.validation if split == "validation" else model.test)
        if path not in self._hashed:
            self._hashed[path] = sha256_path(path)
        return self._hashed[path]

    def _batches(self, task: str, split: Split, limit: int) -> Iterator[ReadImages]:
        some = False
        for chunk in self._chunks(task, split, limit):
            found = self._read(task, split, chunk)
            if found.kept:
                some = True
                yield found
        if not some:
            raise ImagesError(f"none of the {split} images asked for can be read", "remove or replace them", task)

    def _chunks(self, task: str, split: Split, limit: int) -> Iterator[tuple[int, ...]]:
        """Yield the indices of the requested images in chunks that are decoded together."""
        asked = evenly_spaced(self._listed(task, split).count, limit)
        for start in range(0, len(asked), _CHUNK):
            yield tuple(asked[start : start + _CHUNK])

    def _read(self, task: str, split: Split, places: tuple[int, ...]) -> ReadImages:
        listed = self._listed(task, split)
        key = "images", self._images_digest(task, split), listed.how, places
        return self.cache.images.get(key, lambda: listed.read(places))

    def _listed(self, task: str, split: Split) -> ImageSet:
        return self.headers.labelled[split][task]

    def _counting(
        self, progress: Progress, at: int, task: str, split: Split, limit: int, passes: int, words: str
    ) -> Boundary:
        """Return a callback that turns a number of finished images into a fraction of all tasks' images and passes."""
        total, done, tasks = (
            passes * len(evenly_spaced(self._listed(task, split).count, limit)),
            0,
            len(self.recipe.tasks),
        )

        def boundary(images: int) -> None:
            nonlocal done
            done += images
            progress(min((at + done / total) / tasks, 1.0), f"{task}, {split} {words}")

        boundary(0)
        return boundary
