"""The record of a picture that only a test adds: how large each task's change is, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UpdateNorms:
    """‖ΔW_t‖_F by layer of one task."""

    task: str
    layers: tuple[str, ...]
    values: tuple[float, ...]
