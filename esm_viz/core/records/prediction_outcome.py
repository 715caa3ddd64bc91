"""What models predicted image by image: against the truth (confusions), and against each other (flips, differences)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from esm_viz.core.records.accuracy_score import mean_limits
from esm_viz.core.records.basic_types import WILSON_Z, Split

Reference = Literal["pretrained", "finetuned"]  # models that are there without a merge; the second is the task's own
REFERENCES: tuple[Reference, ...] = ("pretrained", "finetuned")


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often images of each class got each prediction.

    Attributes:
        classes: the K shown ones, in the head's order; of many only those with most mistakes.
        counts: K x K images, row: true class, column: prediction.
        totals: images of each shown class, also those whose prediction is a class that is not shown.
        correct: right predictions over all classes.
        n: images over all classes.
        known: classes that the head tells apart.
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
        """Return the most frequent mistake: row, column and how often; None without any."""
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
    """One image on which exactly one of two models is right: its place in the labelled set, and class indices."""

    index: int
    label: int
    a: int
    b: int


@dataclass(frozen=True, slots=True)
class Paired:
    """How two models differ on the same n images: B right where A was wrong, and A right where B is wrong."""

    gained: int
    lost: int
    n: int

    @property
    def difference(self) -> float:
        """Return B's accuracy minus A's, (gained − lost) / n (NaN without images)."""
        return (self.gained - self.lost) / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the difference, which images that both got right or wrong only narrow.

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
        """Say whether the interval tells the two models apart."""
        return not_zero(self.interval)


@dataclass(frozen=True, slots=True)
class Flips:
    """The images of one task on which A and B differ in being right.

    Attributes:
        classes: names of all classes, which the flips' indices count.
        n: images looked at.
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
        """Return the counts that tell whether B is better than A on this task."""
        return Paired(len(self.became_right), len(self.became_wrong), self.n)


@dataclass(frozen=True, slots=True)
class Difference:
    """B against A on the same images of every task."""

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
        """Say whether the interval tells the two models' means apart."""
        return not_zero(self.mean_interval)


def not_zero(interval: tuple[float, float]) -> bool:
    """Say whether an interval leaves 0 outside; one that is not known does not."""
    low, high = interval
    return low > 0 or high < 0
