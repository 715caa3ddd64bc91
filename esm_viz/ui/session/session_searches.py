"""What a session keeps of its searches over knobs: the records found so far, each with the recipe it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import AlphaCurve, KnobSearch, Sweep

CARDS = ("curve", "sweep", "tuning")


@dataclass(frozen=True, slots=True)
class Tuning:
    """A search over several knobs: where it started, what it searches, and the file from which it can go on."""

    recipe: Recipe
    storage: Path
    record: KnobSearch


@dataclass
class Searches:
    """Records and what the controls beside them are set to; a new project starts with a new one."""

    curve: tuple[Recipe, AlphaCurve] | None = None  # the recipe at α = 1, as the curve is over α
    sweep: tuple[Recipe, Sweep] | None = None
    tuning: Tuning | None = None
    knob: str = ""
    against: str = ""
    steps: int = 5
    shown: str = "mean"  # one of QUANTITIES, or the index of a task
    anew: bool = False  # α searched in every cell
    fixed: set[str] = field(default_factory=set)  # knobs that tuning leaves as they are
    trials: int = 20
