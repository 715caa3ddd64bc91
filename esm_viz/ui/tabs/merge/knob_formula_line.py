"""The line under each knob: its formula with the number that it makes now, or the sentence that it does nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Knob, Layer
from esm_viz.figures.number_format import minus, percent, safe, short
from esm_viz.merge import METHODS

Span = tuple[float, float]
# {live} is the number, or the range over layers, tasks or directions, that the formula makes now.
FORMULAS = {
    "rank_ratio": '<span class="m">r</span> = ⌊ρ · d<sub>out</sub> / T⌋ = {live}',
    "spectrum_exponent": '<span class="m">w</span> = (λ / mean λ)<sup>γ</sup>: {live}',
    "task_exponent": "(‖ΔW<sub>t</sub>‖ / mean)<sup>p</sup>: {live}",
    "dimension_exponent": "(‖C<sub>:j</sub>‖ / mean)<sup>p</sup>: {live}",
    "layer_exponent": "(‖ΔW<sup>l</sup>‖ / mean)<sup>p</sup>: {live}",
    "gain": "ΔW = {live} · ortho(E) ortho(C)",
    "expert_rank": "+ x A<sub>t</sub><sup>⊤</sup> B<sub>t</sub><sup>⊤</sup> of rank {live}",
    "routed": "+ x A<sub>t</sub><sup>⊤</sup> B<sub>t</sub><sup>⊤</sup> in {live} layers",
    "alpha": '<span class="m">W</span> = W<sub>0</sub> + {live} · ΔW, {scope}',
    "alpha_scope": '<span class="m">W</span> = W<sub>0</sub> + α ΔW on {live}',
    "off_diagonal": "S<sub>ij</sub> ← {live} · S<sub>ij</sub> for i ≠ j",
    "keep": "kept where |ΔW<sub>t</sub>| ≥ {live}",
    "mask_scale": "claimed by two tasks: {live}",
    "common_share": '<span class="m">k</span> = ⌊c · min(d<sub>out</sub>, d<sub>in</sub>)⌋ = {live}',
}
ITSELF = ("alpha", "gain", "expert_rank", "off_diagonal")  # the number that the formula makes is the knob's own
SCOPES = {"all": "all tensors", "essential": "ESD layers only"}
WRITE: dict[str, Callable[[float], str]] = {  # where three figures are not how one reads it
    "rank_ratio": "{:g}".format,
    "common_share": "{:g}".format,
    "keep": lambda cutoff: f"{cutoff:.2g}",
    "mask_scale": lambda share: f"{percent(share)} %",
}


class Line(NamedTuple):
    """Trusted HTML, and whether it is the sentence that the knob does nothing."""

    html: str
    quiet: bool


def line(name: str, knob: Knob, recipe: Recipe, effect: Span | None, layers: Sequence[Layer]) -> Line:
    """Return what stands under a knob.

    Args:
        name: of the knob in a recipe.
        knob: its declaration.
        recipe: on screen, settled.
        effect: least and most of what its formula makes in the merge of this recipe; None while that is unknown.
        layers: of the tower.
    """
    nothing = _no_effect(name, recipe, effect)
    if nothing:
        return Line(nothing, quiet=True)
    formula = FORMULAS.get(name)
    if formula is None:
        return Line(safe(knob.text), quiet=False)
    scope = SCOPES.get(str(recipe.parameters.get("alpha_scope")), SCOPES["all"])
    return Line(formula.format(live=_live(name, knob, recipe, effect, layers), scope=scope), quiet=False)


def weights_line(weights: Sequence[float]) -> Line:
    """Return what stands under the heading of the tasks' weights."""
    if all(weight == 1.0 for weight in weights):
        return Line("No effect: every weight is 1.", quiet=True)
    ends = " to ".join(dict.fromkeys(short(end) for end in (min(weights), max(weights))))
    return Line(f"ΔW<sub>t</sub> ← w<sub>t</sub> · ΔW<sub>t</sub>: {_strong(ends)}", quiet=False)


def _live(name: str, knob: Knob, recipe: Recipe, effect: Span | None, layers: Sequence[Layer]) -> str:
    value = recipe.parameters[name]
    if name == "routed":
        routed = str(value).split("+")
        return _strong(str(sum(layer.family in routed for layer in layers)))
    if knob.choices:
        return _strong(SCOPES.get(str(value), safe(str(value))))
    if name in ITSELF:
        return _strong(str(value) if knob.whole else short(float(value)))
    if effect is None:
        return "…"
    write = WRITE.get(name, short)
    return _strong(minus(" to ".join(dict.fromkeys(write(end) for end in effect))))


def _no_effect(name: str, recipe: Recipe, effect: Span | None) -> str:
    """Say why a knob does nothing at its present value, or nothing at all."""
    values = recipe.parameters
    value = values[name]
    if name == "alpha" and value == 0:
        if values.get("alpha_scope") == "essential":
            return "No effect of the ESD layers: α is 0, they are the pre-trained model's."
        if METHODS[recipe.method].static != recipe.method:
            return "No effect of the merge: α is 0, the experts work on the pre-trained model."
        return "No effect of the merge: α is 0, B is the pre-trained model."
    if name == "alpha_scope" and values["alpha"] == 1:
        return "No effect: at α 1 both are the same."
    if name == "gain" and value == 0:
        return "No effect of the ESD layers: their change is times 0."
    if name == "keep" and value == 1:
        return "No effect: every entry is kept."
    if name == "off_diagonal" and value == 1:
        return "No effect: correlations stay as measured."
    if name == "mask_scale" and effect == (1.0, 1.0):
        return "No effect: two tasks claim every entry."
    if name.endswith("_exponent") and effect is not None and [round(end, 2) for end in effect] == [1, 1]:
        return f"No effect: {'this level is off' if value == 0 else 'there is nothing to tell apart'}."
    return ""


def _strong(text: str) -> str:
    return f"<strong>{text}</strong>"
