"""Types and small records that the other records share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

LayerRole = Literal["in_proj", "c_fc", "c_proj", "out_proj"]
LAYER_ROLES: tuple[LayerRole, ...] = ("in_proj", "c_fc", "c_proj", "out_proj")
"""What a matrix does in a block, in CLIP's words: it reads the attention's input, the MLP's input, the hidden values of
the MLP, or the heads' outputs."""
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
    """One weight matrix in the model's repeated blocks.

    Attributes:
        name: the model's own name of it.
        family: name of the matrices of its kind, which the inter-layer level compares: equal in kind and in d_out.
        block: number of its block, counted from 0 in names, shown from 1.
        d_out, d_in: its shape; a convolution reads patches of d_in = channels k k.
        role: what it does in its block.
    """

    name: str
    family: str
    block: int
    d_out: int
    d_in: int
    role: LayerRole

    @property
    def essential(self) -> bool:
        """Say whether ESD applies; the output of attention is merged by TSV-M (METHOD, ESM)."""
        return self.role != "out_proj"

    @property
    def label(self) -> str:
        """Return a short name to show: `c_fc 3` is the c_fc of the third block."""
        return f"{self.kind} {self.block + 1}"

    @property
    def kind(self) -> str:
        """Return the kind of matrix, which has a family for each stage in networks of several widths."""
        return self.family.partition(",")[0]


def families_of(layers: Iterable[Layer]) -> tuple[str, ...]:
    """Return the families of some layers, by role and then in the order of their first layers."""
    roles = {layer.family: LAYER_ROLES.index(layer.role) for layer in sorted(layers, key=lambda layer: layer.block)}
    return tuple(sorted(roles, key=roles.__getitem__))


@dataclass(frozen=True, slots=True)
class Treatment:
    """How the tensors of a model are merged by ESM: their number and their parameters.

    Attributes:
        blocks: number of repeated blocks.
        essential, essential_parameters: matrices that ESD applies to.
        other, other_parameters: other matrices, merged by TSV-M.
        averaged, averaged_parameters: vectors, convolutions by channel and tensors of more dimensions.
    """

    blocks: int
    essential: int
    essential_parameters: int
    other: int
    other_parameters: int
    averaged: int
    averaged_parameters: int

    @property
    def sentence(self) -> str:
        """Return it in words, with shares of all parameters in percent."""
        whole = max(self.essential_parameters + self.other_parameters + self.averaged_parameters, 1)
        parts = (
            ("by ESD", self.essential, self.essential_parameters),
            ("by TSV-M", self.other, self.other_parameters),
            ("averaged", self.averaged, self.averaged_parameters),
        )
        told = ", ".join(f"{count} {how} ({100 * size / whole:.1f} % of parameters)" for how, count, size in parts)
        return f"Tensors of {self.blocks} blocks and what is around them: {told}."


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
