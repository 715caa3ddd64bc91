"""Records of predictions: confusions of one model, flips and paired differences of two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from esm_viz.core.records.accuracy_score import mean_limits
from esm_viz.core.records.basic_types import WILSON_Z, Split

Reference = Literal["pretrained", "finetuned"]  # models that need no merge: the base and the task's expert
REFERENCES: tuple[Reference, ...] = ("pretrained", "finetuned")


@dataclass(frozen=True, slots=True)
class Confusion:
    """The confusion matrix of a model on one task.

    Attributes:
        classes: the K shown classes, in the head's order; of many, those with most mistakes.
        counts: K x K numbers of images; row: true class, column: prediction.
        totals: images of each shown class, including those predicted as a class that is not shown.
        correct: right predictions over all classes.
        n: images over all classes.
        known: number of classes of the head.
    """

    task: str
    split: Split
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    totals: tuple[int, ...]
    correct: int
    n: int
    known: int

    @property
    def worst(self) -> tuple[int, int, int] | None:
        """Return the most frequent mistake as (row, column, count); None without mistakes."""
        wrong = [
            (count, -row, -column)
            for row, counts in enumerate(self.counts)
            for column, count in enumerate(counts)
            if row != column and count
        ]
        if not wrong:
            return None
        count, row, column = max(wrong)
        return -row, -column, count


@dataclass(frozen=True, slots=True)
class Flip:
    """One image on which exactly one of two models is right.

    Attributes:
        index: index in the labelled set.
        label: the true class.
        a, b: predictions of models A and B.
        a_probability, b_probability: softmax probability that each model gives to its own prediction.
    """

    index: int
    label: int
    a: int
    b: int
    a_probability: float
    b_probability: float


@dataclass(frozen=True, slots=True)
class RoutedImage:
    """One image that ESM++ routed to a chosen adapter.

    Attributes:
        index: index in the labelled set.
        label: the true class.
        predicted: the routed model's prediction.
        probability: softmax probability that the model gives to its prediction.
        layers: number of the considered layers at which the image went to that adapter.
    """

    index: int
    label: int
    predicted: int
    probability: float
    layers: int


@dataclass(frozen=True, slots=True)
class RoutedImages:
    """The images of a task that ESM++ routed to one task's adapter: one cell of the table of routes.

    Attributes:
        task: the images' own task.
        adapter: the task of the adapter.
        layers: names of the considered layers: one, or all that are routed.
        classes: names of all classes of the task, by the indices in the images.
        n: images of the task.
        images: those that went to the adapter at one of the layers at least: wrong predictions first, then those that
            went there at more layers, then in the order of the set.
    """

    task: str
    adapter: str
    split: Split
    layers: tuple[str, ...]
    classes: tuple[str, ...]
    n: int
    images: tuple[RoutedImage, ...]

    @property
    def wrong(self) -> int:
        """Return how many of the images are predicted wrong."""
        return sum(image.predicted != image.label for image in self.images)


@dataclass(frozen=True, slots=True)
class Paired:
    """How models A and B differ on the same n images: `gained` are right only with B, `lost` only with A."""

    gained: int
    lost: int
    n: int

    @property
    def difference(self) -> float:
        """Return B's accuracy minus A's, (gained − lost) / n (NaN without images)."""
        return (self.gained - self.lost) / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the difference, from the paired predictions.

        d ± z √((g + l − d²) / (n + 2)) with g = (gained + 1) / (n + 2), l = (lost + 1) / (n + 2), d = g − l: Wald's
        interval of McNemar's table with one more flip in each direction (D. G. Bonett and R. M. Price, J. Educ. Behav.
        Stat. 37, 2012).
        """
        if not self.n:
            return math.nan, math.nan
        more = self.n + 2
        gained, lost = (self.gained + 1) / more, (self.lost + 1) / more
        centre = gained - lost
        half = WILSON_Z * math.sqrt((gained + lost - centre**2) / more)
        return max(-1.0, centre - half), min(1.0, centre + half)

    @property
    def told(self) -> bool:
        """Say whether the difference is significant: its 95 % interval excludes 0."""
        return not_zero(self.interval)


@dataclass(frozen=True, slots=True)
class Flips:
    """The images of one task on which exactly one of the models A and B is right.

    Attributes:
        classes: names of all classes, by the indices in the flips.
        n: number of compared images.
    """

    task: str
    split: Split
    classes: tuple[str, ...]
    n: int
    became_right: tuple[Flip, ...]
    became_wrong: tuple[Flip, ...]
    both_right: int
    both_wrong: int

    @property
    def paired(self) -> Paired:
        """Return the counts for a paired comparison of A and B on this task."""
        return Paired(len(self.became_right), len(self.became_wrong), self.n)


@dataclass(frozen=True, slots=True)
class Difference:
    """The comparison of models A and B on the same images of every task."""

    split: Split
    tasks: tuple[str, ...]
    pairs: tuple[Paired, ...]

    @property
    def mean(self) -> float:
        """Return the mean accuracy of B minus that of A."""
        return sum(pair.difference for pair in self.pairs) / len(self.pairs)

    @property
    def mean_interval(self) -> tuple[float, float]:
        """Return a 95 % interval of the mean, from the tasks' paired limits (MOVER, Zou and Donner 2008)."""
        return mean_limits([pair.difference for pair in self.pairs], [pair.interval for pair in self.pairs])

    @property
    def told(self) -> bool:
        """Say whether the difference of the means is significant: its 95 % interval excludes 0."""
        return not_zero(self.mean_interval)


def not_zero(interval: tuple[float, float]) -> bool:
    """Say whether an interval excludes 0; False for NaN."""
    low, high = interval
    return low > 0 or high < 0
