"""Records of searches: α search, α curve, sweep over a grid of knobs, knob search."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, product

from esm_viz.core.records.accuracy_score import Evaluation, Score
from esm_viz.core.records.agreement_result import ExpertAgreement
from esm_viz.core.records.basic_types import Objective, Split, Value
from esm_viz.core.records.merge_report import Interference


@dataclass(frozen=True, slots=True)
class AlphaPoint:
    """One step of the α search; `value` is the search's objective, more is better."""

    alpha: float
    value: float


@dataclass(frozen=True, slots=True)
class AlphaSearch:
    """The result of the bracketing search for α.

    Attributes:
        value: the objective at the α found, more is better: mean normalised accuracy, minus KL, or feature direction.
        trace: the steps, in order.
        images: images per step, over all tasks: labelled validation images or, without labels, proxies.
        search_on: what α was chosen by.
    """

    alpha: float
    value: float
    trace: tuple[AlphaPoint, ...]
    images: int
    search_on: Objective


@dataclass(frozen=True, slots=True)
class BetweenPoints:
    """Validation accuracy at an α that was not measured: on the straight line between the two measured beside it.

    Attributes:
        low, high: the measurements at the next smaller and the next larger α, of the same recipe, on all images.
    """

    alpha: float
    low: Evaluation
    high: Evaluation

    @property
    def accuracy(self) -> tuple[float, ...]:
        """Return the merged model's accuracy per task, as a fraction."""
        return tuple(map(self._between, self.low.scores("merged"), self.high.scores("merged")))

    @property
    def mean(self) -> float:
        """Return the mean accuracy over tasks, as a fraction."""
        return sum(self.accuracy) / len(self.accuracy)

    def _between(self, low: Score, high: Score) -> float:
        share = (self.alpha - self.low.alpha) / (self.high.alpha - self.low.alpha)
        return low.accuracy + share * (high.accuracy - low.accuracy)


@dataclass(frozen=True, slots=True)
class AlphaCurve:
    """Measurements of one recipe over α, ascending: validation accuracy or, without labels, agreement on proxies."""

    points: tuple[Evaluation | ExpertAgreement, ...] = ()

    def with_point(self, point: Evaluation | ExpertAgreement) -> AlphaCurve:
        """Return the curve with one more point; of two points at the same α, the one on more images is kept."""
        same = next((old for old in self.points if old.alpha == point.alpha), None)
        if same is not None and _images(same) > _images(point):
            return self
        points = [old for old in self.points if old is not same]
        return AlphaCurve(tuple(sorted([*points, point], key=lambda each: each.alpha)))

    def between(self, alpha: float) -> BetweenPoints | None:
        """Return accuracy at an α from the two points beside it that were measured on all images; None outside."""
        whole = [point for point in self.points if isinstance(point, Evaluation) and not point.limit]
        below = [point for point in whole if point.alpha <= alpha]
        above = [point for point in whole if point.alpha > alpha]
        return BetweenPoints(alpha, below[-1], above[0]) if below and above else None

    @property
    def best(self) -> int | None:
        """Return the index of the first best point among those on the most images, or None.

        The best has the highest mean accuracy or, without labels, the highest objective of the agreement.
        """
        most = max(map(_images, self.points), default=0)
        heights = [_point_height(point) if _images(point) == most else -math.inf for point in self.points]
        return heights.index(max(heights)) if heights else None


def _images(record: Evaluation | ExpertAgreement) -> int:
    return sum(task.merged.n for task in record.tasks) if isinstance(record, Evaluation) else record.images


def _point_height(record: Evaluation | ExpertAgreement) -> float:
    return _height(record.mean("merged") if isinstance(record, Evaluation) else record.height)


@dataclass(frozen=True, slots=True)
class SweepCell:
    """One cell of a sweep; a cell not measured yet has none of its measurements.

    Attributes:
        parameters: all parameters of the method in this cell; if α was searched, the value that was found.
        interference: None if a task has no proxies to measure it on.
        evaluation: None unless every task has labelled images.
        agreement: agreement with the experts on proxies, measured where there are no labels.
    """

    parameters: Mapping[str, Value]
    recipe_sha256: str
    interference: Interference | None
    evaluation: Evaluation | None
    seconds: float
    agreement: ExpertAgreement | None = None

    @property
    def reached(self) -> bool:
        """Say whether this cell was measured."""
        return self.interference is not None or self.evaluation is not None or self.agreement is not None

    @property
    def value(self) -> float:
        """Return the objective, more is better: mean normalised accuracy or, without labels, that of the agreement."""
        if self.evaluation is not None:
            return self.evaluation.mean_normalised
        return self.agreement.height if self.agreement is not None else math.nan


@dataclass(frozen=True, slots=True)
class Sweep:
    """The measurements of all cells of a grid over knobs; some are missing while it runs or after it was stopped.

    Attributes:
        grid: knobs and their values, in the requested order.
        start: the recipe's own parameters.
        split: split on which accuracy was measured; None without labels, when cells hold agreement on proxies.
        images: labelled images or, without labels, proxies per cell, over all tasks.
        search_on: what cells may be chosen by; None if by nothing: on test images, or where without heads more than α
            differs.
        cells: cells in the order of `points`, which need not be the order in which they were measured.
    """

    recipe_sha256: str
    method: str
    grid: tuple[tuple[str, tuple[Value, ...]], ...]
    start: Mapping[str, Value]
    split: Split | None
    images: int
    cells: tuple[SweepCell, ...]
    seconds: float
    search_on: Objective | None

    @property
    def points(self) -> tuple[tuple[Value, ...], ...]:
        """Return the values of the swept knobs in every cell; the last knob varies fastest."""
        return tuple(product(*(values for _, values in self.grid)))

    @property
    def reached(self) -> int:
        """Return the number of measured cells."""
        return sum(cell.reached for cell in self.cells)

    @property
    def baseline(self) -> int | None:
        """Return the index of the cell with the recipe's own parameters; None if the grid has no such cell."""
        own = tuple(self.start[name] for name, _ in self.grid)
        return self.points.index(own) if own in self.points else None

    @property
    def best(self) -> int | None:
        """Return the index of the first cell with the highest value; None if nothing was measured, or by no objective.

        Parameters must not be chosen on test images.
        """
        heights = [_height(cell.value) for cell in self.cells]
        highest = max(heights, default=-math.inf)
        return heights.index(highest) if self.search_on is not None and highest > -math.inf else None


@dataclass(frozen=True, slots=True)
class KnobTrial:
    """One trial of a knob search.

    Attributes:
        parameters: all parameters of the method in this trial; if α was searched, the value that was found.
        value: the objective, larger is better; NaN if the merge fails with these values.
    """

    parameters: Mapping[str, Value]
    value: float


@dataclass(frozen=True, slots=True)
class KnobSearch:
    """A search over several knobs at once.

    Attributes:
        knobs: the searched knobs; the others kept the recipe's values.
        objective: "normalised": mean of merged / expert validation accuracy, as in the α search; without labels
            "divergence": minus KL(expert ‖ merged), or "direction": feature direction, for α alone.
        images: validation images or proxies per trial, over all tasks.
        trials: trials in order; the first one has the recipe's own values.
    """

    method: str
    knobs: tuple[str, ...]
    objective: Objective
    images: int
    seed: int
    trials: tuple[KnobTrial, ...]

    @property
    def best(self) -> int:
        """Return the index of the first trial with the highest value, so that knobs change only for a gain."""
        heights = [_height(trial.value) for trial in self.trials]
        return heights.index(max(heights))

    @property
    def best_so_far(self) -> tuple[float, ...]:
        """Return the highest value up to each trial."""
        return tuple(accumulate((_height(trial.value) for trial in self.trials), max))


def _height(value: float) -> float:
    """Return a value for comparison: −∞ for NaN."""
    return -math.inf if math.isnan(value) else value
