"""A knob: one setting of a merge method, with all that the studio, a recipe's check and the README say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from esm_viz.core.records.basic_types import Layer, Stage, Value

Role = Literal["rank", "spectrum", "task", "dimension", "layer"]
"""ρ, the share of directions that a task keeps; or the exponent of one level of polarized scaling, in order of work."""
Span = tuple[float, float]
"""The least and the greatest number that a formula makes over layers, tasks or directions."""


class Setting(NamedTuple):
    """A knob as it stands in a recipe.

    Attributes:
        value: of the knob.
        parameters: values of all the method's knobs, this one among them.
        effect: what the knob's formula makes in the merge of this recipe; None while that is unknown.
        layers: of the tower.
        routed: whether adapters are added to the merged weights for each image.
    """

    value: Value
    parameters: Mapping[str, Value]
    effect: Span | None
    layers: Sequence[Layer]
    routed: bool


def always_acts(setting: Setting) -> str:  # noqa: ARG001
    """Say of no setting that it does nothing."""
    return ""


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting of a method, declared once, in the method's file.

    Attributes:
        label: what a person calls it.
        symbol: its letter in METHOD's formulas, as HTML.
        range: least, most and step of the slider; values outside least and most are refused. None for choices.
        wakes: the first stage that reads it.
        text: one sentence on what it does.
        formula: where it acts, as HTML. `{live}` stands for what the method's `live` function tells of the merge,
            `{value}` for the knob's own value, and another knob's name for that one's value.
        choices: allowed words, for a setting that is not a number.
        word: one word that is allowed beside the numbers (`search` for α).
        whole: whether only whole numbers are allowed.
        no_effect: says in one sentence why the knob does nothing as it stands; an empty text where it does something.
        write_live: writes a number of `{live}`; three figures where not given.
        write_value: writes `{value}` as HTML; the word itself, or three figures, where not given.
        folded: whether the studio shows it under "More", so that all the others fit a laptop.
        role: what it is to rooms that ask for a knob by its meaning; None for most.
    """

    label: str
    symbol: str
    range: tuple[float, float, float] | None
    wakes: Stage
    text: str
    formula: str
    choices: tuple[str, ...] = ()
    word: str = ""
    whole: bool = False
    no_effect: Callable[[Setting], str] = always_acts
    write_live: Callable[[float], str] | None = None
    write_value: Callable[[Setting], str] | None = None
    folded: bool = False
    role: Role | None = None
