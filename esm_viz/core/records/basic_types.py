"""The few words and small records that all others share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["in_proj", "c_fc", "c_proj", "out_proj"]
FAMILIES: tuple[Family, ...] = ("in_proj", "c_fc", "c_proj", "out_proj")
Stage = Literal["moments", "decomposition", "frame", "basis", "coordinates", "product", "weights", "adapters"]
Split = Literal["validation", "test"]
Objective = Literal["normalised", "interference"]  # what a search makes large: the first, or minus the second
Value = float | int | str

WILSON_Z = 1.959963984540054  # 97.5 % point of the normal distribution: two-sided 95 %


def unseen(record: object) -> None:
    """Show what is found so far to nobody."""


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
    layout: str  # its title, "open_clip vision tower" say
    dtype: str  # of the matrices, "float16", or "float16, float32" when mixed
    parameters: int
    bytes: int
    matched: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misshaped: tuple[str, ...] = ()  # there, but of another shape


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
