"""Searches over knobs and grids of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, product

from esm_viz.core.records.accuracy_score import Evaluation
from esm_viz.core.records.basic_types import Objective, Split, Value
from esm_viz.core.records.merge_report import Interference


@dataclass(frozen=True, slots=True)
class AlphaPoint:
    """One step of the α search: the mean over tasks of validation accuracy / expert's validation accuracy."""

    alpha: float
    normalised: float


@dataclass(frozen=True, slots=True)
class AlphaSearch:
    """The bracketing search for α on validation images; `trace` in the order visited."""

    alpha: float
    normalised: float
    trace: tuple[AlphaPoint, ...]
    images: int  # validation images read a step, over all tasks


@dataclass(frozen=True, slots=True)
class AlphaCurve:
    """Validation accuracy at several α of one recipe, in rising α; each point says on how many images."""

    points: tuple[Evaluation, ...] = ()

    def with_point(self, point: Evaluation) -> AlphaCurve:
        """Return the curve with one more point; of two at the same α the one on more images stays."""
        same = next((old for old in self.points if old.alpha == point.alpha), None)
        if same is not None and _images(same) > _images(point):
            return self
        points = [old for old in self.points if old is not same]
        return AlphaCurve(tuple(sorted([*points, point], key=lambda each: each.alpha)))

    @property
    def best(self) -> int | None:
        """Return the first point of highest mean accuracy among those on the most images; None without points."""
        most = max(map(_images, self.points), default=0)
        means = [point.mean("merged") if _images(point) == most else -math.inf for point in self.points]
        return means.index(max(means)) if means else None


def _images(record: Evaluation) -> int:
    return sum(task.merged.n for task in record.tasks)


@dataclass(frozen=True, slots=True)
class SweepCell:
    """One cell of a sweep; one that was not reached holds neither interference nor evaluation.

    Attributes:
        parameters: all of the method's, as measured; a searched α is the number that was found.
        interference: None where a task has no proxies to measure it on.
        evaluation: None where not every task has labelled images.
    """

    parameters: Mapping[str, Value]
    recipe_sha256: str
    interference: Interference | None
    evaluation: Evaluation | None
    seconds: float

    @property
    def reached(self) -> bool:
        """Say whether anything was measured here."""
        return self.interference is not None or self.evaluation is not None

    @property
    def value(self) -> float:
        """Return what a good cell has much of: mean normalised accuracy, without labels minus mean interference."""
        if self.evaluation is not None:
            return self.evaluation.mean_normalised
        return -self.interference.mean if self.interference is not None else math.nan


@dataclass(frozen=True, slots=True)
class Sweep:
    """One measurement a cell of a grid over knobs; while it is made, or once it was stopped, some are not reached.

    Attributes:
        grid: knobs and their values, in the order asked for.
        start: the recipe's own parameters.
        split: what the cells were scored on; None without labels, where cells hold interference only.
        images: labelled images read a cell, over all tasks.
        cells: in the order of `points`, whatever the order of the work.
    """

    recipe_sha256: str
    method: str
    grid: tuple[tuple[str, tuple[Value, ...]], ...]
    start: Mapping[str, Value]
    split: Split | None
    images: int
    cells: tuple[SweepCell, ...]
    seconds: float

    @property
    def points(self) -> tuple[tuple[Value, ...], ...]:
        """Return every cell's values of the swept knobs; the last knob varies fastest."""
        return tuple(product(*(values for _, values in self.grid)))

    @property
    def reached(self) -> int:
        """Return how many cells were measured."""
        return sum(cell.reached for cell in self.cells)

    @property
    def baseline(self) -> int | None:
        """Return the cell that is the recipe itself; None where the grid does not hold it."""
        own = tuple(self.start[name] for name, _ in self.grid)
        return self.points.index(own) if own in self.points else None

    @property
    def best(self) -> int | None:
        """Return the first cell of highest value.

        None on test images, by which nothing may be chosen, and where nothing is known.
        """
        heights = [_height(cell.value) for cell in self.cells]
        highest = max(heights, default=-math.inf)
        return heights.index(highest) if self.split != "test" and highest > -math.inf else None


@dataclass(frozen=True, slots=True)
class KnobTrial:
    """One point of a knob search.

    Attributes:
        parameters: all of the method's, as measured; a searched α is the number that was found.
        value: the objective there, larger is better; NaN where these values cannot be merged with.
    """

    parameters: Mapping[str, Value]
    value: float


@dataclass(frozen=True, slots=True)
class KnobSearch:
    """A search over several knobs at once.

    Attributes:
        knobs: those that were searched; the others stayed as the recipe has them.
        objective: "normalised": mean validation accuracy / expert's, as in the α search; "interference": minus the
            mean interference, where not every task has labelled validation images.
        images: validation images read a trial, over all tasks; 0 for interference.
        trials: in the order made; the first is the recipe as it was.
    """

    method: str
    knobs: tuple[str, ...]
    objective: Objective
    images: int
    seed: int
    trials: tuple[KnobTrial, ...]

    @property
    def best(self) -> int:
        """Return the first trial of highest value, so that knobs move for a gain only."""
        heights = [_height(trial.value) for trial in self.trials]
        return heights.index(max(heights))

    @property
    def best_so_far(self) -> tuple[float, ...]:
        """Return the highest value up to each trial; it never falls."""
        return tuple(accumulate((_height(trial.value) for trial in self.trials), max))


def _height(value: float) -> float:
    """Return a value to be compared: what is unknown lies below all that is known."""
    return -math.inf if math.isnan(value) else value
