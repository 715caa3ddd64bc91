"""Records of accuracy: scores, the scores of one task, the routing of ESM++, and the evaluation of a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from esm_viz.core.records.basic_types import WILSON_Z, Layer, Split, Value


@dataclass(frozen=True, slots=True)
class Score:
    """Right predictions out of n; accuracy and its Wilson 95 % interval are fractions."""

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
    """Scores of the base, the task's own expert and the merged model on the same images of one task."""

    task: str
    pretrained: Score
    finetuned: Score
    merged: Score

    @property
    def normalised(self) -> float:
        """Return merged accuracy / expert accuracy (NaN if the expert's accuracy is 0)."""
        return self.merged.accuracy / self.finetuned.accuracy if self.finetuned.correct else math.nan


@dataclass(frozen=True, slots=True)
class Routing:
    """Which task's adapter each image was routed to, and how many parameters the adapters add (METHOD, ESM++).

    Attributes:
        layers: the routed layers, in the order in which the tower runs them.
        routes: L x T x T; at each layer, the share of a task's images (row) routed to each task's adapter (column).
        oracle: per task, the score when every image uses its true task's adapters; empty if it was not measured.
        parameters: parameters of all adapters and prototypes.
        base_parameters: parameters of the merged tower.
    """

    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    routes: tuple[tuple[tuple[float, ...], ...], ...]
    oracle: tuple[Score, ...]
    parameters: int
    base_parameters: int

    @property
    def shares(self) -> tuple[tuple[float, ...], ...]:
        """Return the share of each task's images routed to its own adapter, T x L: the diagonals of `routes`."""
        return tuple(tuple(layer[t][t] for layer in self.routes) for t in range(len(self.tasks)))

    @property
    def mean_routes(self) -> tuple[tuple[float, ...], ...]:
        """Return `routes` averaged over layers, T x T."""
        count = range(len(self.tasks))
        return tuple(tuple(sum(layer[t][s] for layer in self.routes) / len(self.routes) for s in count) for t in count)

    @property
    def mean(self) -> float:
        """Return the mean routing accuracy over tasks and layers."""
        return sum(map(sum, self.shares)) / (len(self.tasks) * len(self.layers))

    @property
    def overhead(self) -> float:
        """Return adapters and prototypes as a share of the merged tower's parameters."""
        return self.parameters / self.base_parameters

    @property
    def of_separate(self) -> float:
        """Return the parameters of the whole routed model as a share of those of T separate models."""
        return (self.base_parameters + self.parameters) / (len(self.tasks) * self.base_parameters)


Which = Literal["pretrained", "finetuned", "merged", "oracle"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracy of one recipe's model on every task, with the split and number of images.

    Attributes:
        limit: requested images per task; 0 = all of the split.
        routing: routing of an ESM++ model; None for other methods.
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
        """Return one model's score on each task; empty for an oracle that was not measured."""
        if which == "oracle":
            return self.routing.oracle if self.routing else ()
        return tuple(getattr(task, which) for task in self.tasks)

    def mean(self, which: Which) -> float:
        """Return the mean accuracy over tasks (NaN if nothing was measured)."""
        scores = self.scores(which)
        return sum(score.accuracy for score in scores) / len(scores) if scores else math.nan

    def mean_interval(self, which: Which) -> tuple[float, float]:
        """Return a 95 % interval of the mean, from the tasks' Wilson limits (MOVER, Zou and Donner 2008)."""
        scores = self.scores(which)
        return mean_limits([score.accuracy for score in scores], [score.interval for score in scores])

    @property
    def mean_normalised(self) -> float:
        """Return the mean of merged / expert accuracy over tasks with an expert accuracy above 0 (NaN without any)."""
        known = [task.normalised for task in self.tasks if task.finetuned.correct]
        return sum(known) / len(known) if known else math.nan

    @property
    def mean_title(self) -> str:
        """Return the title of the tasks' mean in a table, which no task has as its name."""
        title = "mean"
        while any(task.task == title for task in self.tasks):
            title = f"{title} of tasks"
        return title

    @property
    def shares_missing(self) -> str:
        """Return a sentence on the tasks whose accuracy cannot be divided by the expert's; empty if all can."""
        lacking = [task.task for task in self.tasks if not task.finetuned.correct]
        if not lacking:
            return ""
        several = len(lacking) > 1
        experts = f"the experts of {', '.join(lacking)} are" if several else f"the expert of {lacking[0]} is"
        known = "the mean of the other tasks" if len(lacking) < len(self.tasks) else "not known"
        none = f"{experts} right on none of {'their' if several else 'its'} images"
        return f"{none}, so accuracy ÷ expert’s is {known}; check heads and labels"


def mean_limits(values: Sequence[float], limits: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return an interval of the mean of independent estimates from their intervals (MOVER, Zou and Donner 2008)."""
    count = len(values)
    mean = sum(values) / count
    below = math.hypot(*(value - low for value, (low, _) in zip(values, limits, strict=True))) / count
    above = math.hypot(*(high - value for value, (_, high) in zip(values, limits, strict=True))) / count
    return mean - below, mean + above
