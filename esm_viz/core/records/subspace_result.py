"""Where fine-tuning moved the model: spectra, overlaps, maps of essential subspaces, patches."""

from __future__ import annotations

from dataclasses import dataclass

from esm_viz.core.records.basic_types import Layer


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
