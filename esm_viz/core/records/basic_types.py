"""Types and small records that the other records share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["in_proj", "c_fc", "c_proj", "out_proj"]
FAMILIES: tuple[Family, ...] = ("in_proj", "c_fc", "c_proj", "out_proj")
Stage = Literal["moments", "decomposition", "frame", "basis", "coordinates", "product", "weights", "adapters"]
Split = Literal["validation", "test"]
Objective = Literal["normalised", "divergence", "direction"]
"""What knobs are chosen by: normalised accuracy on labels, or without labels KL(expert ‖ merged) or the direction."""
SEARCH_ON: dict[Objective, str] = {"normalised": "labels", "divergence": "agreement", "direction": "direction"}
"""The names of objectives in JSON, under the key `search_on`."""
Value = float | int | str

WILSON_Z = 1.959963984540054  # 97.5 % point of the normal distribution: two-sided 95 %


def ignore_record(record: object) -> None:
    """Do nothing: the default for callbacks that show an intermediate record."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One weight matrix of the tower that is merged by ESM; `name` is open_clip's name of it."""

    name: str
    family: Family
    block: int  # counted from 0 in names, shown from 1
    d_out: int
    d_in: int

    @property
    def label(self) -> str:
        """Return a short name to show: `c_fc 3` is the c_fc of the third block."""
        return f"{self.family} {self.block + 1}"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a checkpoint's header says, before any weights are read."""

    name: str  # name of the model, or "base"
    file: str  # file name without its folders
    layout: str  # title of the layout, for example "open_clip vision tower"
    dtype: str  # type of the matrices: "float16", or "float16, float32" if mixed
    parameters: int
    bytes: int
    matched: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misshaped: tuple[str, ...] = ()  # tensors with the right name but another shape
    from_base: tuple[str, ...] = ()  # parameters that a fine-tune does not bring, so they stay the base's


@dataclass(frozen=True, slots=True)
class Inspection:
    """The headers of all files of a recipe, with the expected cost of a merge."""

    arch: str
    activation: str  # "GELU" or "QuickGELU"
    files: tuple[FileFacts, ...]  # base first
    layers: tuple[Layer, ...]
    memory_bytes: int
    seconds: float
    notes: tuple[str, ...]  # for example that a checkpoint is fp16, or that an expert equals its base
