"""The frozen records that pass between rooms, and the few words that all of them share.

Shapes: T tasks, L layers, W (d_out, d_in), n tokens. Records hold tuples of floats, never tensors, so that they
compare, hash and turn into JSON; a figure draws one record, and a test compares one record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Family = Literal["in_proj", "c_fc", "c_proj", "out_proj"]
FAMILIES: tuple[Family, ...] = ("in_proj", "c_fc", "c_proj", "out_proj")
Stage = Literal["moments", "decomposition", "basis", "coordinates", "product", "weights", "experts"]
Split = Literal["validation", "test"]
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
        whole: whether only whole numbers are allowed.
    """

    label: str
    symbol: str
    range: tuple[float, float, float] | None
    wakes: Stage
    text: str
    formula: str
    choices: tuple[str, ...] = ()
    word: str = ""
    whole: bool = False


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
class Routing:
    """How each task's images found their experts, and what the experts weigh (METHOD, ESM++).

    Attributes:
        layers: the routed ones, in the order in which the tower runs them.
        shares: T x L; the share of a task's images that its own expert answered at that layer.
        oracle: per task, the score where every layer is told the true task; empty where it was not measured.
        parameters: numbers in all experts and prototypes.
        base_parameters: numbers in the merged tower.
    """

    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    shares: tuple[tuple[float, ...], ...]
    oracle: tuple[Score, ...]
    parameters: int
    base_parameters: int

    @property
    def mean(self) -> float:
        """Return the routing accuracy, the mean over tasks and layers."""
        return sum(map(sum, self.shares)) / (len(self.tasks) * len(self.layers))

    @property
    def overhead(self) -> float:
        """Return experts and prototypes as a share of the merged tower's parameters."""
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
