"""The frozen records that pass between rooms, and the few words that all of them share.

Shapes: T tasks, L layers, W (d_out, d_in), n tokens. Records hold tuples of floats, never tensors, so that they
compare, hash and turn into JSON; a figure draws one record, and a test compares one record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, product
from typing import Literal

Family = Literal["in_proj", "c_fc", "c_proj", "out_proj"]
FAMILIES: tuple[Family, ...] = ("in_proj", "c_fc", "c_proj", "out_proj")
Stage = Literal["moments", "decomposition", "basis", "coordinates", "product", "weights"]
Split = Literal["validation", "test"]
Objective = Literal["normalised", "interference"]  # what a search makes large: the first, or minus the second
Value = float | int | str
Report = Callable[[float, str], None]
"""report(fraction in [0, 1], words), called at every layer or batch boundary; it raises Cancelled to stop the work."""

WILSON_Z = 1.959963984540054  # 97.5 % point of the normal distribution: two-sided 95 %


def silent(fraction: float, words: str) -> None:
    """Report to nobody."""


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting of a method, declared once: the studio's slider, the recipe's check and the README read it.

    Attributes:
        label: what a person calls it.
        symbol: its letter in METHOD's formulas, as HTML.
        range: least, most and step of the slider; values outside least and most are refused. None for choices.
        wakes: the first stage that reads it.
        text: one sentence on what it does.
        formula: LaTeX of where it acts.
        choices: allowed words, for a setting that is not a number.
        word: one word that is allowed beside the numbers (`search` for α).
    """

    label: str
    symbol: str
    range: tuple[float, float, float] | None
    wakes: Stage
    text: str
    formula: str
    choices: tuple[str, ...] = ()
    word: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """One weight matrix of the tower that ESM treats by name; `name` is open_clip's."""

    name: str
    family: Family
    block: int  # counted from 0 in names, shown from 1
    d_out: int
    d_in: int

    @property
    def label(self) -> str:
        """Say the layer the way people do: `c_fc 3` is the third block's c_fc."""
        return f"{self.family} {self.block + 1}"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a checkpoint's header says, before a weight is read."""

    name: str  # of the model, or "base"
    file: str  # file name without its folders
    layout: str  # "open_clip vision tower" or "open_clip CLIP (vision part)"
    dtype: str  # of the matrices, "float16", or "float16, float32" when mixed
    parameters: int
    bytes: int
    matched: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """All headers of a recipe judged together, with the cost to expect."""

    arch: str
    activation: str  # "GELU" or "QuickGELU"
    files: tuple[FileFacts, ...]  # base first
    layers: tuple[Layer, ...]
    memory_bytes: int
    seconds: float
    notes: tuple[str, ...]  # fp16 checkpoints, a fine-tune equal to its base …


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Where one task's output shift lives at one layer (METHOD, ESD).

    Attributes:
        eigenvalues: λ, all d_out of them, descending, in squared activation.
        energy: cumulative share of functional energy kept by the first k ESD directions, k = 1..d_out.
        energy_svd: the same for the left singular vectors of ΔW, measured in the same functional energy.
        rank: r, what the rank knob keeps now.
    """

    task: str
    layer: Layer
    eigenvalues: tuple[float, ...]
    energy: tuple[float, ...]
    energy_svd: tuple[float, ...]
    rank: int


@dataclass(frozen=True, slots=True)
class LayerMap:
    """One number a (task, layer): the heat map that opens Explore.

    Attributes:
        kind: "rank90", "energy", "norm" or "overlap".
        values: T x L: directions that hold 90 % of the energy, share of energy in the first r, ‖ΔW‖_F,
            or mean overlap with the other tasks.
        shares: T x L in [0, 1], what the colour shows (rank / d_out for "rank90").
    """

    kind: str
    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    values: tuple[tuple[float, ...], ...]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Overlap:
    """‖Ê_iᵀ Ê_j‖_F² / k of the tasks' first k directions at one layer; 1 = same subspace."""

    layer: Layer
    tasks: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    random_level: float  # k / d_out, what random subspaces give
    k: int


@dataclass(frozen=True, slots=True)
class Angles:
    """Principal angles between two tasks' first k directions at one layer, ascending, in degrees."""

    layer: Layer
    tasks: tuple[str, str]
    degrees: tuple[float, ...]
    random_degrees: tuple[float, ...]  # the same for two random subspaces of that size, one seeded draw


@dataclass(frozen=True, slots=True)
class Interference:
    """‖X_t (ΔW − ΔW_t)ᵀ‖² / ‖X_t ΔW_tᵀ‖², label-free: 0 = the task's own shift is kept, 1 = as bad as no merging.

    Attributes:
        values: T x L; NaN where the task did not move that layer.
        means: per task, the mean over layers that moved.
    """

    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    values: tuple[tuple[float, ...], ...]
    means: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the mean over tasks (NaN where nothing moved at all)."""
        known = [value for value in self.means if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan


@dataclass(frozen=True, slots=True)
class LayerNorms:
    """‖ΔW‖_F per layer before and after the inter-layer level, α not included."""

    layers: tuple[Layer, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge did, without labels: the live half of the Merge tab.

    Attributes:
        effects: per knob, the live range its formula makes now, as (least, most): r over the families, w over
            directions, the factor over tasks, columns or layers.
    """

    recipe_sha256: str
    method: str
    alpha: float
    parameters: Mapping[str, Value]
    interference: Interference
    norms: LayerNorms
    effects: Mapping[str, tuple[float, float]]
    seconds: float


@dataclass(frozen=True, slots=True)
class Score:
    """Right answers out of n, with the Wilson 95 % interval; all fractions."""

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
class Evaluation:
    """Accuracy of one recipe's model, with everything it was measured on.

    Attributes:
        limit: images asked for per task; 0 = all of the split.
    """

    recipe_sha256: str
    method: str
    alpha: float
    parameters: Mapping[str, Value]
    split: Split
    tasks: tuple[TaskScores, ...]
    limit: int
    seconds: float

    def mean(self, which: Literal["pretrained", "finetuned", "merged"]) -> float:
        """Return the mean accuracy over tasks."""
        return sum(getattr(task, which).accuracy for task in self.tasks) / len(self.tasks)

    def mean_interval(self, which: Literal["pretrained", "finetuned", "merged"]) -> tuple[float, float]:
        """Return a 95 % interval of the mean, from the tasks' Wilson limits (MOVER, Zou and Donner 2008)."""
        scores = [getattr(task, which) for task in self.tasks]
        mean, tasks = self.mean(which), len(scores)
        below = math.hypot(*(score.accuracy - score.interval[0] for score in scores)) / tasks
        above = math.hypot(*(score.interval[1] - score.accuracy for score in scores)) / tasks
        return mean - below, mean + above

    @property
    def mean_normalised(self) -> float:
        """Return the mean of merged / expert accuracy over the tasks whose expert is ever right (NaN without any)."""
        known = [task.normalised for task in self.tasks if task.finetuned.correct]
        return sum(known) / len(known) if known else math.nan


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
class SweepCell:
    """One cell of a sweep.

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
    def value(self) -> float:
        """Return what a good cell has much of: mean normalised accuracy, without labels minus mean interference."""
        if self.evaluation is not None:
            return self.evaluation.mean_normalised
        return -self.interference.mean if self.interference is not None else math.nan


@dataclass(frozen=True, slots=True)
class Sweep:
    """One measurement a cell of a grid over knobs.

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


@dataclass(frozen=True, slots=True)
class ProofRow:
    """One check of the export: what was on screen, what is in the file."""

    what: str
    on_screen: str
    in_file: str

    @property
    def equal(self) -> bool:
        """Say whether both sides agree."""
        return self.on_screen == self.in_file


@dataclass(frozen=True, slots=True)
class ExportProof:
    """A written model, read again and found to be what was on screen."""

    folder: str
    files: tuple[str, ...]
    recipe_sha256: str
    tensors_sha256: str
    file_sha256: str
    rows: tuple[ProofRow, ...] = field(default=())


def _height(value: float) -> float:
    """Return a value to be compared: what is unknown lies below all that is known."""
    return -math.inf if math.isnan(value) else value
