"""The rail of knobs: what each declared knob looks like, and its formula with the number it makes now."""

from __future__ import annotations

from typing import Any

from esm_viz.figures.words import safe, short
from esm_viz.merge import METHODS
from esm_viz.types import Knob, Value
from esm_viz.ui.store import Session

WEIGHT_RANGE = (0.0, 2.0, 0.1)
FOLDED = ("gain", "alpha_scope", "routed")  # under "More", so that six knobs fit a laptop
# The formula as it stands under the slider; {live} is the number or range it makes now.
FORMULAS = {
    "rank_ratio": '<span class="m">r</span> = ⌊ρ · d<sub>out</sub> / T⌋ = {live}',
    "spectrum_exponent": '<span class="m">w</span> = (λ / mean λ)<sup>γ</sup>: {live}',
    "task_exponent": "(‖ΔW<sub>t</sub>‖ / mean)<sup>p</sup>: {live}",
    "dimension_exponent": "(‖C<sub>:j</sub>‖ / mean)<sup>p</sup>: {live}",
    "layer_exponent": "(‖ΔW<sup>l</sup>‖ / mean)<sup>p</sup>: {live}",
    "gain": "ΔW = {live} · ortho(E) ortho(C)",
    "expert_rank": "+ x A<sub>t</sub><sup>⊤</sup> B<sub>t</sub><sup>⊤</sup> of rank {live}",
    "alpha": '<span class="m">W</span> = W<sub>0</sub> + {live} · ΔW, {scope}',
}
SCOPES = {"all": "all tensors", "essential": "ESD layers only"}


def rail(session: Session) -> dict[str, Any]:
    """Return what the rail shows: methods, knobs with values and live numbers, weights, and what was refused."""
    recipe = session.recipe
    method = METHODS[recipe.method]
    fresh = session.report is not None and session.report[0] == recipe
    effects = dict(session.report[1].effects) if session.report and fresh else {}
    knobs = [
        _knob(name, knob, recipe.parameters[name], method.defaults[name], effects, recipe.parameters.get("alpha_scope"))
        for name, knob in method.knobs.items()
    ]
    return {
        "method": recipe.method,
        "methods": [[name, entry.title] for name, entry in METHODS.items()],
        "summary": f"{safe(method.summary)} ({safe(method.source)})" if method.source else safe(method.summary),
        "knobs": knobs + [_weight(model.name, model.weight) for model in recipe.models],
        "error": session.errors.get("rail", ""),
        "recipe": session.report[1].recipe_sha256 if session.report and fresh else "",
    }


def _knob(
    name: str, knob: Knob, value: Value, default: Value, effects: dict[str, tuple[float, float]], scope: Value | None
) -> dict[str, Any]:
    least, most, step = knob.range or (0.0, 1.0, 1.0)
    live, quiet = _live(name, knob, value, effects.get(name), scope)
    return {
        "act": "knob",
        "name": name,
        "label": knob.label,
        "symbol": knob.symbol,
        "text": knob.text,
        "value": value,
        "default": default,
        "least": least,
        "most": most,
        "step": step,
        "choices": list(knob.choices),
        "live": live,
        "quiet": quiet,
        "more": name in FOLDED,
    }


def _weight(task: str, weight: float) -> dict[str, Any]:
    least, most, step = WEIGHT_RANGE
    return {
        "act": "weight",
        "name": task,
        "label": task,
        "symbol": "w<sub>t</sub>",
        "text": f"How much of {task}'s change is merged.",
        "value": weight,
        "default": 1.0,
        "least": least,
        "most": max(most, weight),
        "step": step,
        "choices": [],
        "live": "",
        "quiet": False,
        "more": True,
    }


def _live(
    name: str, knob: Knob, value: Value, effect: tuple[float, float] | None, scope: Value | None
) -> tuple[str, bool]:
    """Return the formula line, and whether it is the sentence that the knob does nothing."""
    formula = FORMULAS.get(name)
    if formula is None:
        return safe(knob.text), False
    if name in ("alpha", "gain", "expert_rank"):
        shown = str(value) if knob.whole else short(float(value))
        return formula.format(live=_strong(shown), scope=SCOPES.get(str(scope), "all tensors")), False
    if effect is None:
        return formula.format(live="…"), False
    least, most = effect
    if name.endswith("_exponent") and round(least, 2) == round(most, 2) == 1:
        why = "this level is off" if value == 0 else "there is nothing to tell apart"
        return f"No effect: {why}.", True
    ends = [f"{end:g}" if name == "rank_ratio" else short(end) for end in dict.fromkeys((least, most))]
    return formula.format(live=_strong(" to ".join(ends))), False


def _strong(text: str) -> str:
    return f"<strong>{text}</strong>"
