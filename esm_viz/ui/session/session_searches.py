"""A session's searches over knobs: their records so far, each with its recipe, and the settings of their controls."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import AlphaCurve, KnobSearch, Sweep

CARDS = ("curve", "sweep", "tuning")


@dataclass(frozen=True, slots=True)
class Tuning:
    """A search over several knobs: its start, its knobs, and the file from which it can resume."""

    recipe: Recipe
    storage: Path
    record: KnobSearch


@dataclass
class Searches:
    """The records of searches and the settings of their controls; replaced when another project is loaded."""

    curve: tuple[Recipe, AlphaCurve] | None = None  # with the recipe at α = 1, since the curve does not depend on its α
    sweep: tuple[Recipe, Sweep] | None = None
    tuning: Tuning | None = None
    knob: str = ""
    against: str = ""
    steps: int = 5
    shown: str = "mean"  # one of QUANTITIES, or the index of a task
    anew: bool = False  # whether α is searched in every cell
    fixed: set[str] = field(default_factory=set)  # knobs that the search does not change
    trials: int = 20
