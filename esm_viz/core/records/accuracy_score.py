"""Accuracy, with what it was measured on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from esm_viz.core.records.basic_types import WILSON_Z, Layer, Split, Value


@dataclass(frozen=True, slots=True)
class Score:
    """Right predictions out of n, with the Wilson 95 % interval; all fractions."""

    correct: int
    n: int

    @property
    def accuracy(self) -> float:
        """Return correct / n (NaN without images)."""
        return self.correct / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return the Wilson 95 % interval (E. B. Wilson 1927), which stays inside [0, 1]."""
        if not self.n:
            return math.nan, math.nan
        p, z2 = self.accuracy, WILSON_Z**2 / self.n
        centre = (p + z2 / 2) / (1 + z2)
        half = WILSON_Z / (1 + z2) * math.sqrt(p * (1 - p) / self.n + z2 / (4 * self.n))
        return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True)
class TaskScores:
    """One task: pre-trained, its own expert, and the merged model on the same images."""

    task: str
    pretrained: Score
    finetuned: Score
    merged: Score

    @property
    def normalised(self) -> float:
        """Return merged accuracy / expert accuracy (NaN where the expert is never right)."""
        return self.merged.accuracy / self.finetuned.accuracy if self.finetuned.correct else math.nan


@dataclass(frozen=True, slots=True)
class Routing:
    """How each task's images found their adapters, and what the adapters weigh (METHOD, ESM++).

    Attributes:
        layers: the routed ones, in the order in which the tower runs them.
        routes: L x T x T; at a layer, the share of a task's images (row) that each task's adapter (column) served.
        oracle: per task, the score where every layer is told the true task; empty where it was not measured.
        parameters: numbers in all adapters and prototypes.
        base_parameters: numbers in the merged tower.
    """

    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    routes: tuple[tuple[tuple[float, ...], ...], ...]
    oracle: tuple[Score, ...]
    parameters: int
    base_parameters: int

    @property
    def shares(self) -> tuple[tuple[float, ...], ...]:
        """Return, T x L, the share of a task's images that its own adapter served: the diagonals of `routes`."""
        return tuple(tuple(layer[t][t] for layer in self.routes) for t in range(len(self.tasks)))

    @property
    def mean_routes(self) -> tuple[tuple[float, ...], ...]:
        """Return where each task's images went, T x T, the mean over layers."""
        count = range(len(self.tasks))
        return tuple(tuple(sum(layer[t][s] for layer in self.routes) / len(self.routes) for s in count) for t in count)

    @property
    def mean(self) -> float:
        """Return the routing accuracy, the mean over tasks and layers."""
        return sum(map(sum, self.shares)) / (len(self.tasks) * len(self.layers))

    @property
    def overhead(self) -> float:
        """Return adapters and prototypes as a share of the merged tower's parameters."""
        return self.parameters / self.base_parameters

    @property
    def of_separate(self) -> float:
        """Return the whole routed model's parameters as a share of those of T separate models."""
        return (self.base_parameters + self.parameters) / (len(self.tasks) * self.base_parameters)


Which = Literal["pretrained", "finetuned", "merged", "oracle"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracy of one recipe's model, with everything it was measured on.

    Attributes:
        limit: images asked for per task; 0 = all of the split.
        routing: of a routed model; None for one set of weights.
    """

    recipe_sha256: str
    method: str
    alpha: float
    parameters: Mapping[str, Value]
    split: Split
    tasks: tuple[TaskScores, ...]
    limit: int
    seconds: float
    routing: Routing | None = None

    def scores(self, which: Which) -> tuple[Score, ...]:
        """Return one model's scores, a task each; none for an oracle that was not measured."""
        if which == "oracle":
            return self.routing.oracle if self.routing else ()
        return tuple(getattr(task, which) for task in self.tasks)

    def mean(self, which: Which) -> float:
        """Return the mean accuracy over tasks (NaN where nothing was measured)."""
        scores = self.scores(which)
        return sum(score.accuracy for score in scores) / len(scores) if scores else math.nan

    def mean_interval(self, which: Which) -> tuple[float, float]:
        """Return a 95 % interval of the mean, from the tasks' Wilson limits (MOVER, Zou and Donner 2008)."""
        scores = self.scores(which)
        return mean_limits([score.accuracy for score in scores], [score.interval for score in scores])

    @property
    def mean_normalised(self) -> float:
        """Return the mean of merged / expert accuracy over the tasks whose expert is ever right (NaN without any)."""
        known = [task.normalised for task in self.tasks if task.finetuned.correct]
        return sum(known) / len(known) if known else math.nan


def mean_limits(values: Sequence[float], limits: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return limits of the mean of independent estimates from their own (MOVER, Zou and Donner 2008)."""
    count = len(values)
    mean = sum(values) / count
    below = math.hypot(*(value - low for value, (low, _) in zip(values, limits, strict=True))) / count
    above = math.hypot(*(high - value for value, (_, high) in zip(values, limits, strict=True))) / count
    return mean - below, mean + above
