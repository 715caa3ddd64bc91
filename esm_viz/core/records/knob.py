"""The knob: one setting of a merge method, with its range, default, text and formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from esm_viz.core.records.basic_types import Layer, Stage, Value

Role = Literal["rank", "spectrum", "task", "dimension", "layer"]
"""Meaning of a knob: ρ, the share of directions kept per task, or the exponent of one level of polarized scaling."""
Span = tuple[float, float]
"""The least and the greatest value of a formula over layers, tasks or directions."""


class Setting(NamedTuple):
    """The value of a knob in a recipe, with what it depends on.

    Attributes:
        value: value of the knob.
        parameters: values of all knobs of the method, including this one.
        effect: least and greatest value of the knob's formula in this merge; None if not known yet.
        layers: the tower's layers.
        routed: whether the method adds adapters for each image (ESM++).
    """

    value: Value
    parameters: Mapping[str, Value]
    effect: Span | None
    layers: Sequence[Layer]
    routed: bool


def always_acts(setting: Setting) -> str:  # noqa: ARG001
    """Return an empty text: the default `no_effect` of a knob that always has an effect."""
    return ""


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting of a method, declared in the method's file.

    Attributes:
        label: name to show.
        symbol: letter in METHOD's formulas, as HTML.
        range: least value, greatest value and step of the slider; other values are refused. None for choices.
        wakes: the first stage that depends on the knob.
        text: one sentence on what it does.
        formula: the formula in which it is used, as HTML. `{live}` is replaced by the result of the method's `live`
            function, `{value}` by the knob's value, and `{name}` by the value of the knob of that name.
        choices: allowed words, for a setting that is not a number.
        word: one word that is allowed besides numbers (`search` for α).
        whole: whether only whole numbers are allowed.
        no_effect: returns one sentence on why the current value has no effect; an empty text if it has one.
        write_live: formats a number of `{live}`; by default three significant figures.
        write_value: formats `{value}` as HTML; by default the word itself, or three significant figures.
        folded: whether the studio shows it under "More", so that the others fit on a laptop's screen.
        role: meaning by which other packages look the knob up; None for most knobs.
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
