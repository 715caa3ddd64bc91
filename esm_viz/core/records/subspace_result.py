"""Records of essential subspaces: spectra, overlaps, angles, maps, stability, patches."""

from __future__ import annotations

from dataclasses import dataclass

from esm_viz.core.records.basic_types import Layer


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The spectrum of one task's output shift at one layer (METHOD, ESD).

    Attributes:
        eigenvalues: λ, all d_out of them, descending, in squared activation.
        energy: cumulative share of functional energy kept by the first k ESD directions, k = 1..d_out.
        energy_svd: share of the same functional energy kept by the first k left singular vectors of ΔW.
        rank: r, the number of directions that the rank knob keeps.
    """

    task: str
    layer: Layer
    eigenvalues: tuple[float, ...]
    energy: tuple[float, ...]
    energy_svd: tuple[float, ...]
    rank: int


@dataclass(frozen=True, slots=True)
class LayerMap:
    """One number for every task and layer: the heat map at the top of the Explore tab.

    Attributes:
        kind: "rank90", "energy", "norm" or "overlap".
        values: T x L: number of directions that hold 90 % of the energy, share of energy in the first r directions,
            ‖ΔW‖_F, or mean overlap with the other tasks.
        shares: T x L in [0, 1]: the value that the colour shows (rank / d_out for "rank90").
    """

    kind: str
    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    values: tuple[tuple[float, ...], ...]
    shares: tuple[tuple[float, ...], ...]

    @property
    def strongest(self) -> Layer:
        """Return the layer with the largest mean over tasks; of equal ones the first."""
        return max(zip(self.layers, zip(*self.values, strict=True), strict=True), key=lambda column: sum(column[1]))[0]


@dataclass(frozen=True, slots=True)
class Overlap:
    """‖Ê_iᵀ Ê_j‖_F² / k of the tasks' first k directions at one layer; 1 = same subspace."""

    layer: Layer
    tasks: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    random_level: float  # k / d_out, the expected overlap of random subspaces
    k: int


@dataclass(frozen=True, slots=True)
class Angles:
    """Principal angles between two tasks' first k directions at one layer, ascending, in degrees."""

    layer: Layer
    tasks: tuple[str, str]
    degrees: tuple[float, ...]
    random_degrees: tuple[float, ...]  # the same for two random subspaces of that size, drawn once with a fixed seed


@dataclass(frozen=True, slots=True)
class SubspaceMap:
    """All essential subspaces as points of a plane: subspaces with similar overlaps with all tasks are near each other.

    The distance of two points is that of two rows of overlap tables, ‖o_t − o_s‖ / √2 with o_t = (overlap with task 1,
    …, T), so layers of any shape fit one map. At one layer, the distance of two tasks is 0 for the same subspace and at
    least 1 − overlap; it is exactly 1 − overlap if both have equal overlaps with all other tasks.

    Attributes:
        points: T x L of (x, y), without a unit; NaN if fine-tuning on the task did not change the layer.
        stress: √(Σ (drawn − true distance)² / Σ true distance²), Kruskal's stress 1; 0 = no distortion.
    """

    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    points: tuple[tuple[tuple[float, float], ...], ...]
    stress: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, least and greatest value over several draws; all NaN without draws."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Draws:
    """Bases from several random draws of `images` proxies of a task.

    Attributes:
        with_all: overlap with the basis from all proxies, which include the drawn ones.
        between: overlap of two bases from draws without a common image; NaN with fewer than 2 x `images` proxies.
        energy: share of the functional energy of all proxies that the first r directions of a drawn basis keep.
    """

    images: int
    with_all: Spread
    between: Spread
    energy: Spread


@dataclass(frozen=True, slots=True)
class Stability:
    """How much an essential subspace depends on the choice and number of proxies; NaN if the layer did not change.

    Attributes:
        rank: r, the number of compared directions.
        draws: number of draws of each size.
        sizes: results by number of images, ascending; the last one uses all proxies.
        svd_overlap, svd_energy: overlap and energy of the first r left singular vectors of ΔW, which need no images.
        random_level: expected overlap of random subspaces, k / d_out.
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
    """One patch of a proxy image and the score |e_iᵀ ΔW_t x| of its token; image, row and column count from 0."""

    image: int  # index among the task's proxies
    row: int
    column: int
    score: float  # in units of the layer's output


@dataclass(frozen=True, slots=True)
class HeatImage:
    """One proxy image with the scores of all its tokens; `heat` has one entry for each patch, by row and column."""

    image: int
    png: bytes
    heat: tuple[tuple[float, ...], ...]
    class_token: float


@dataclass(frozen=True, slots=True)
class Patches:
    """The image patches for which fine-tuning changed a layer's output most along one essential direction.

    Attributes:
        direction: i, counted from 1 like λ_1.
        energy: λ_i / Σ λ, the direction's share of the functional energy.
        class_token_share: share of the direction's energy, Σ score² over all images, that comes from class tokens.
        top: the patches with the largest scores over all images, largest first; without class tokens and blank patches.
            If all patches are blank, they are kept.
        blank_left_out: blank patches (nearly one colour) with at least the smallest score in `top`.
        all_blank: whether every patch of every image is blank.
        images: the images that hold these patches, in the order of their first patch.
    """

    task: str
    layer: Layer
    direction: int
    energy: float
    class_token_share: float
    top: tuple[Patch, ...]
    blank_left_out: int
    all_blank: bool
    images: tuple[HeatImage, ...]
