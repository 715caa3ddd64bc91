"""Accuracy on labelled images: of base, experts and merged model alike, on the same images, and on which device."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from esm_viz.cache import StageCache
from esm_viz.checkpoints.reading import Checkpoint, sha256_path
from esm_viz.data.images import spread
from esm_viz.errors import DeviceError, HeadError, ImagesError
from esm_viz.models.heads import Head
from esm_viz.models.routed import RoutedTower
from esm_viz.models.tower import encode
from esm_viz.opening import Headers
from esm_viz.recipe import Recipe, sha256_text
from esm_viz.types import Report, Routing, Score, Split, TaskScores

Batches = Iterator[tuple[Tensor, Tensor]]
Boundary = Callable[[int], None]
_CHUNK = 256  # images decoded and kept together


def score(tower: nn.Module, head: Head, batches: Batches, boundary: Boundary = lambda images: None) -> Score:
    """Count right answers.

    Args:
        tower: the model.
        head: of the task.
        batches: preprocessed images (k, 3, H, W) with their labels (k,).
        boundary: told the number of images in each batch when it is done; may raise to stop.
    """
    correct = n = 0
    for images, labels in batches:
        correct += int((head.answers(encode(tower, images)) == labels).sum())
        n += len(labels)
        boundary(len(labels))
    return Score(correct, n)


def resolve_device(name: str) -> str:
    """Return "cpu" or "cuda" for auto, cpu, cuda.

    Raises:
        DeviceError: the device is unknown or not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise DeviceError(f"device is {name!r}", "use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("this machine has no CUDA device that torch can use", "use --device cpu")
    return name


@dataclass(frozen=True)
class Scorer:
    """Scores over one project's labelled images; base and expert scores are kept, merged ones by recipe identity.

    Attributes:
        recipe: as opened, for paths.
        headers: the opened files.
        digests: SHA-256 by path as the recipe writes it.
        device: where towers run.
        cache: of all stages.
    """

    recipe: Recipe
    headers: Headers
    digests: Mapping[str, str]
    device: str
    cache: StageCache
    _hashed: dict[Path, str] = field(default_factory=dict, repr=False)

    def has_labels(self, split: Split) -> bool:
        """Say whether every task has labelled images of a split."""
        return set(self.headers.labelled[split]) == set(self.recipe.tasks)

    def need_labels(self, split: Split) -> None:
        """Refuse a split that some task does not have.

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
        """Return one digest of all labelled images of a split and of the heads that answer on them."""
        parts = [f"{self._images_digest(task, split)} {self.headers.heads[task].digest}" for task in self.recipe.tasks]
        return sha256_text("\n".join(parts))

    def tower(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Fill a tower that runs in float32 on the device."""
        return self.headers.arch.tower(
            {name: tensor.to(self.device, torch.float32) for name, tensor in weights.items()}
        )

    def table(
        self, merged: nn.Module, identity: str, split: Split, limit: int, report: Report
    ) -> tuple[TaskScores, ...]:
        """Score base, experts and merged model on every task.

        Args:
            merged: the merged tower, with experts or without.
            identity: the recipe's canonical JSON, under which merged scores are kept.
            split: which labelled images.
            limit: images a task; 0 = all.
            report: progress.
        """
        rows = []
        for at, model in enumerate(self.recipe.models):
            task = model.name
            total = 3 * len(spread(self.headers.labelled[split][task].count, limit))
            boundary = _counting(report, at, len(self.recipe.models), total, f"{task}, {split} images")
            boundary(0)
            rows.append(
                TaskScores(
                    task,
                    self._of_base(task, split, limit, boundary),
                    self._of_expert(task, split, limit, boundary),
                    self._routed(merged, identity, at, split, limit, boundary)[0]
                    if isinstance(merged, RoutedTower)
                    else self._score((identity,), lambda: merged, task, split, limit, boundary),
                )
            )
        return tuple(rows)

    def routing(
        self, tower: RoutedTower, identity: str, split: Split, limit: int, oracle: bool, report: Report
    ) -> Routing:
        """Return which experts the images of every task found, and how well they do with the right ones.

        Args:
            tower: the routed model.
            identity: the recipe's canonical JSON, under which scores are kept.
            split: which labelled images.
            limit: images a task; 0 = all.
            oracle: whether to send them through their own experts as well.
            report: progress.
        """
        shares, told = [], []
        for at, task in enumerate(self.recipe.tasks):
            total = len(spread(self.headers.labelled[split][task].count, limit))
            boundary = _counting(report, at, len(self.recipe.tasks), total, f"{task}, oracle routing")
            boundary(0)
            shares.append(self._routed(tower, identity, at, split, limit, boundary)[1])
            if oracle:
                with tower.sent_to(at):
                    told.append(self._score((identity, "oracle"), lambda: tower, task, split, limit, boundary))
        named = {layer.name: layer for layer in self.headers.arch.layers}
        return Routing(
            self.recipe.tasks,
            tuple(named[name] for name in tower.layers),
            tuple(shares),
            tuple(told),
            tower.expert_parameters,
            tower.base_parameters,
        )

    def alone(self, which: Literal["pretrained", "finetuned"], split: Split, report: Report) -> dict[str, Score]:
        """Score the base, or each task's own expert, on the tasks that have labelled images, whatever others have.

        Args:
            which: the base or the experts.
            split: which labelled images, all of them.
            report: progress.
        """
        ask = self._of_base if which == "pretrained" else self._of_expert
        tasks = [task for task in self.recipe.tasks if task in self.headers.labelled[split]]
        found = {}
        for at, task in enumerate(tasks):
            total = self.headers.labelled[split][task].count
            boundary = _counting(report, at, len(tasks), total, f"{task}, {split} images")
            boundary(0)
            found[task] = ask(task, split, 0, boundary)
        return found

    def score_tower(self, tower: nn.Module, split: Split) -> tuple[Score, ...]:
        """Score a tower that came from elsewhere on all images of a split, past every kept score."""
        tower = tower.to(self.device)
        return tuple(
            score(tower, self.headers.heads[task], self._batches(task, split, 0)) for task in self.recipe.tasks
        )

    def _of_base(self, task: str, split: Split, limit: int, boundary: Boundary) -> Score:
        key = (self.recipe.arch, self.digests[self.recipe.base])
        return self._score(key, lambda: self._stored(self.headers.base), task, split, limit, boundary)

    def _of_expert(self, task: str, split: Split, limit: int, boundary: Boundary) -> Score:
        path = next(model.path for model in self.recipe.models if model.name == task)
        key = (self.recipe.arch, self.digests[path])
        return self._score(key, partial(self._expert, task), task, split, limit, boundary)

    def _stored(self, checkpoint: Checkpoint) -> nn.Module:
        return self.tower(checkpoint.tensors(self.headers.arch.shapes, torch.float32))

    def _expert(self, task: str) -> nn.Module:
        return self._stored(self.headers.experts[task])

    def _routed(
        self, tower: RoutedTower, identity: str, at: int, split: Split, limit: int, boundary: Boundary
    ) -> tuple[Score, tuple[float, ...]]:
        """Return a task's score and, per routed layer, the share of its images that its own expert answered."""
        task = self.recipe.tasks[at]
        head = self.headers.heads[task]
        key = ("routed", identity, at, self._images_digest(task, split), head.digest, split, limit, self.device)

        def compute() -> tuple[Score, tuple[float, ...]]:
            tower.take_routes()  # of whatever it ran before
            scored = score(tower, head, self._batches(task, split, limit), boundary)
            return scored, tuple((tower.take_routes() == at).double().mean(1).tolist())

        return self.cache.get(key, compute)

    def _score(
        self,
        model: tuple[Hashable, ...],
        tower: Callable[[], nn.Module],
        task: str,
        split: Split,
        limit: int,
        boundary: Boundary,
    ) -> Score:
        head = self.headers.heads[task]
        key = ("score", model, self._images_digest(task, split), head.digest, split, limit, self.device)
        return self.cache.get(key, lambda: score(tower(), head, self._batches(task, split, limit), boundary))

    def _images_digest(self, task: str, split: Split) -> str:
        """Return the digest of a task's labelled images, hashed when they are first asked for."""
        model = next(model for model in self.recipe.models if model.name == task)
        path = self.recipe.resolve(model.validation if split == "validation" else model.test)
        if path not in self._hashed:
            self._hashed[path] = sha256_path(path)
        return self._hashed[path]

    def _batches(self, task: str, split: Split, limit: int) -> Batches:
        listed = self.headers.labelled[split][task]
        labels = listed.labels
        assert labels is not None  # labelled sets have labels
        chosen = spread(listed.count, limit)
        identity = self._images_digest(task, split), self.headers.arch.image_size
        for start in range(0, len(chosen), _CHUNK):
            indices = chosen[start : start + _CHUNK]
            key = ("images", identity, tuple(indices))
            images = self.cache.get(key, partial(listed.load, indices))
            yield images, labels[indices]


def _counting(report: Report, at: int, tasks: int, total: int, words: str) -> Boundary:
    """Turn images done into a fraction of all tasks."""
    done = 0

    def boundary(images: int) -> None:
        nonlocal done
        done += images
        report(min((at + done / total) / tasks, 1.0), words)

    return boundary
