"""What a merge does, without labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from esm_viz.core.records.basic_types import Layer, Value


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
            directions, the factor over tasks, columns or layers; ranks are whole numbers.
    """

    recipe_sha256: str
    method: str
    alpha: float
    parameters: Mapping[str, Value]
    interference: Interference
    norms: LayerNorms
    effects: Mapping[str, tuple[int | float, int | float]]
    seconds: float
