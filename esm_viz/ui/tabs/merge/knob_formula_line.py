"""The line under each knob: its formula with the current value, or a sentence on why the knob has no effect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Knob, Layer, Setting, Span
from esm_viz.figures.number_format import minus, safe, short
from esm_viz.merge import METHODS


class Line(NamedTuple):
    """Trusted HTML, and whether it is the sentence that the knob has no effect."""

    html: str
    quiet: bool


def line(name: str, recipe: Recipe, effect: Span | None, layers: Sequence[Layer]) -> Line:
    """Return the line under a knob.

    Args:
        name: name of the knob in a recipe.
        recipe: the recipe on screen, with all parameters.
        effect: least and greatest value of its formula in the merge; None if not known yet.
        layers: the tower's layers.
    """
    method, values = METHODS[recipe.method], recipe.parameters
    knob, routed = method.knobs[name], method.static != method.name
    now = Setting(values[name], values, effect, layers, routed)
    nothing = knob.no_effect(now)
    if nothing:
        return Line(nothing, quiet=True)
    slots = {other: _value(each, now._replace(value=values[other])) for other, each in method.knobs.items()}
    html = knob.formula.format(live=_live(knob, effect), value=_strong(_value(knob, now)), **slots)
    return Line(html, quiet=False)


def weights_line(weights: Sequence[float]) -> Line:
    """Return the line under the heading of the tasks' weights."""
    if all(weight == 1.0 for weight in weights):
        return Line("No effect: every weight is 1.", quiet=True)
    ends = " to ".join(dict.fromkeys(short(end) for end in (min(weights), max(weights))))
    return Line(f"ΔW<sub>t</sub> ← w<sub>t</sub> · ΔW<sub>t</sub>: {_strong(ends)}", quiet=False)


def _live(knob: Knob, effect: Span | None) -> str:
    """Return the value of the formula or its range as text; a placeholder if it is not known yet."""
    if effect is None:
        return "…"
    write = knob.write_live or short
    return _strong(minus(" to ".join(dict.fromkeys(write(end) for end in effect))))


def _value(knob: Knob, now: Setting) -> str:
    """Return a knob's own value as text."""
    if knob.write_value:
        return knob.write_value(now)
    if isinstance(now.value, str):
        return safe(now.value)
    return str(now.value) if knob.whole else short(float(now.value))


def _strong(text: str) -> str:
    return f"<strong>{text}</strong>"
