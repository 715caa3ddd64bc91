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
Stage = Literal["moments", "decomposition", "frame", "basis", "coordinates", "product", "weights", "experts"]
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

    @property
    def strongest(self) -> Layer:
        """Return the layer with the largest number on average over tasks, the first of several."""
        return max(zip(self.layers, zip(*self.values, strict=True), strict=True), key=lambda column: sum(column[1]))[0]


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
class SubspaceMap:
    """All essential subspaces on one plane: near points share directions with the same tasks to the same degree.

    The distance drawn is that of rows of the layers' overlap tables, ‖o_t − o_s‖ / √2 with o_t = (overlap with task 1,
    …, T), so that layers of any shape have one map. It is 0 for the same subspace at a layer, at least 1 − overlap
    between two tasks of a layer and just that where they overlap with all others alike: 1 where nothing is shared.

    Attributes:
        points: T x L of (x, y), no unit; NaN where the task did not move that layer.
        stress: √(Σ (drawn − true distance)² / Σ true distance²), Kruskal's stress 1; 0 = nothing is distorted.
    """

    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    points: tuple[tuple[tuple[float, float], ...], ...]
    stress: float


@dataclass(frozen=True, slots=True)
class Spread:
    """One number over several draws: its mean, least and most; all NaN where there is none."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Draws:
    """Bases of `images` of a task's proxies, drawn several times.

    Attributes:
        with_all: overlap with the basis of all proxies, of which the drawn ones are a part.
        between: overlap of two bases without a common image; NaN where there are not twice as many proxies.
        energy: share of all proxies' functional energy that the first r directions of the drawn ones' basis keep.
    """

    images: int
    with_all: Spread
    between: Spread
    energy: Spread


@dataclass(frozen=True, slots=True)
class Stability:
    """How much an essential subspace depends on which proxies were drawn, and how many; NaN where nothing moved.

    Attributes:
        rank: r, directions compared.
        draws: how often each number of images was drawn.
        sizes: by number of images, ascending; the last one is all of them.
        svd_overlap, svd_energy: what r left singular vectors of ΔW have, which no image was needed for.
        random_level: overlap of random subspaces, k / d_out.
    """

    task: str
    layer: Layer
    rank: int
    draws: int
    sizes: tuple[Draws, ...]
    svd_overlap: float
    svd_energy: float
    random_level: float


@dataclass(frozen=True, slots=True)
class ScalingProfile:
    """‖ΔW‖_F of the merge per layer with polarized scaling's levels switched on one after another (METHOD, ESM).

    Attributes:
        levels: "none", then those of "spectrum", "task", "dimension", "layer" that the method has, in this order.
        norms: levels x L, α not included.
        shares_before, shares_after: T x L, each task's share of Σ_t ‖ΔW_t‖_F² before and after the inter-task level;
            equal where the method or the layer has none, NaN where no task moved.
    """

    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    levels: tuple[str, ...]
    norms: tuple[tuple[float, ...], ...]
    shares_before: tuple[tuple[float, ...], ...]
    shares_after: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch of a proxy image and |e_iᵀ ΔW_t x| of its token; all counted from 0."""

    image: int  # among the task's drawn proxies
    row: int
    column: int
    score: float  # in units of the layer's output


@dataclass(frozen=True, slots=True)
class HeatImage:
    """One proxy image with the scores of all its tokens; `heat` has a row for every row of patches."""

    image: int
    png: bytes
    heat: tuple[tuple[float, ...], ...]
    class_token: float


@dataclass(frozen=True, slots=True)
class Patches:
    """Which image patches move the output of a layer most along one direction of a task's change.

    Attributes:
        direction: i, counted from 1 as λ_1 is.
        energy: λ_i / Σ λ, the direction's share of the functional energy.
        class_token_share: of the direction's energy, Σ score², that comes from class tokens, over all images.
        top: the patches with the largest scores over all images, largest first; class tokens are not among them.
        images: those that hold them, in the order of their first patch.
    """

    task: str
    layer: Layer
    direction: int
    energy: float
    class_token_share: float
    top: tuple[Patch, ...]
    images: tuple[HeatImage, ...]


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
