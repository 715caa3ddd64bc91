"""Records of what can be measured of a merge without labels: scaling profile, interference, norms of layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from esm_viz.core.records.basic_types import Layer, Value


@dataclass(frozen=True, slots=True)
class ScalingProfile:
    """‖ΔW‖_F of the merge per layer, as the levels of polarized scaling are switched on one by one (METHOD, ESM).

    Attributes:
        levels: "none", then the method's levels among "spectrum", "task", "dimension" and "layer", in this order.
        norms: levels x L, before multiplication by α.
        shares_before, shares_after: T x L, each task's share of Σ_t ‖ΔW_t‖_F² before and after the inter-task level;
            equal if the method or the layer does not have that level, NaN if no task changed the layer.
    """

    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    levels: tuple[str, ...]
    norms: tuple[tuple[float, ...], ...]
    shares_before: tuple[tuple[float, ...], ...]
    shares_after: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Interference:
    """‖X_t (ΔW − ΔW_t)ᵀ‖² / ‖X_t ΔW_tᵀ‖², without labels: 0 = the expert's output, 1 = as far from it as the base.

    Attributes:
        values: T x L; NaN if fine-tuning on the task did not change the layer.
        means: per task, the mean over the layers it changed.
        directions: T x L, c in [−1, 1]: how much of the merge points the task's own way.
        sizes: T x L, s: the merge's size beside the task's own; over 1 it overshoots. Values are 1 − 2 s c + s².
    """

    tasks: tuple[str, ...]
    layers: tuple[Layer, ...]
    values: tuple[tuple[float, ...], ...]
    means: tuple[float, ...]
    directions: tuple[tuple[float, ...], ...] = ()
    sizes: tuple[tuple[float, ...], ...] = ()

    @property
    def mean(self) -> float:
        """Return the mean over tasks (NaN if no task changed any layer)."""
        known = [value for value in self.means if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan


@dataclass(frozen=True, slots=True)
class LayerNorms:
    """‖ΔW‖_F per layer before and after the inter-layer level, before multiplication by α."""

    layers: tuple[Layer, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class MergeReport:
    """The label-free measures of one merge that the Merge tab shows.

    Attributes:
        effects: per knob, the least and greatest value of its formula in this merge: ranks r over the families (whole
            numbers), weights w over directions, factors over tasks, columns or layers.
    """

    recipe_sha256: str
    method: str
    alpha: float
    parameters: Mapping[str, Value]
    interference: Interference
    norms: LayerNorms
    effects: Mapping[str, tuple[int | float, int | float]]
    seconds: float
