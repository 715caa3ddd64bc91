"""The knobs of the Merge tab: presets, one control for each declared knob with its formula, and the tasks' weights."""

from __future__ import annotations

from typing import Any

from esm_viz.core.recipe import ModelEntry
from esm_viz.core.records import Knob, Value
from esm_viz.figures.formula_typesetting import typeset, typeset_parts
from esm_viz.figures.number_format import safe
from esm_viz.merge import METHODS
from esm_viz.merge.method_registry import Method, Preset
from esm_viz.merge.preset_lookup import PRESETS, preset_of
from esm_viz.ui.components.html_snippets import mark
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.session.task_weight import WEIGHT_RANGE
from esm_viz.ui.tabs.merge.alpha_curve_card import any_alpha
from esm_viz.ui.tabs.merge.knob_formula_line import Line, line, weights_line
from esm_viz.ui.tabs.merge.method_words import words_of

GROUPS = {"Essential subspaces": True, "Other methods": False}  # title -> whether its methods read decompositions


def rail(session: Session) -> dict[str, Any]:
    """Return the data of the knobs' component: presets, knobs with values and formulas, weights, and an error."""
    recipe = session.recipe
    method = METHODS[recipe.method]
    report = session.report[1] if session.report is not None and session.report[0] == recipe else None
    effects = report.effects if report else {}
    layers = session.project.layers
    knobs = [
        _knob(
            name,
            knob,
            recipe.parameters[name],
            method.defaults[name],
            knob_span(session, knob, recipe.parameters[name]),
            line(name, recipe, effects.get(name), layers),
        )
        for name, knob in method.knobs.items()
    ]
    knobs += [_weight(at, model) for at, model in enumerate(recipe.models)]
    preset = preset_of(recipe)
    weights = weights_line([model.weight for model in recipe.models])
    moved = [knob["label"] for knob in knobs if knob["more"] and knob["value"] != knob["default"]]
    return {
        "menu": [[title, [_entry(preset) for preset in _group(essential)]] for title, essential in GROUPS.items()],
        "preset": preset.name if preset else "",
        "own": f"{method.title}, own setting",
        "method": recipe.method,
        "summary": f"{_summary(method)} ({safe(method.source)})" if method.source else _summary(method),
        "words": words_of(recipe.method),
        "best": _best_alpha(session),
        "knobs": knobs,
        "weights": {"live": weights.html if weights.quiet else typeset(weights.html), "quiet": weights.quiet},
        "moved": f"{', '.join(moved)} moved" if moved else "",
        "error": session.errors.get("rail", ""),
        "recipe": report.recipe_sha256 if report else "",
    }


def _best_alpha(session: Session) -> float | None:
    """Return the α that a search chose for the other knobs on screen; None if none did."""
    own = any_alpha(session.recipe)
    found = next((old for old in reversed(session.searched) if any_alpha(old) == own), None)
    return float(found.parameters["alpha"]) if found is not None else None


def _summary(method: Method) -> str:
    return typeset_parts(method.formula) if method.formula else safe(method.summary)


def _group(essential: bool) -> list[Preset]:
    return [p for p in PRESETS.values() if (METHODS[p.method].needs == "decompositions") == essential]


def _entry(preset: Preset) -> list[str]:
    alpha = "" if preset.fixes_alpha else ", α by search"
    return [preset.name, preset.title, f"{preset.says}{alpha} ({preset.source})"]


def knob_span(session: Session, knob: Knob, value: Value) -> tuple[float, float, float]:
    """Return the least, the most and the step of a knob's slider.

    A rank begins where every layer of this tower keeps a direction; a recipe may hold less, and the slider shows it.
    """
    least, most, step = knob.range or (0.0, 1.0, 1.0)
    if knob.role == "rank":
        fits = session.project.least_rank_ratio(step)
        least = min(max(least, fits), most, float(value))
    return least, most, step


def _knob(
    name: str, knob: Knob, value: Value, default: Value, span: tuple[float, float, float], under: Line
) -> dict[str, Any]:
    least, most, step = span
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
        "live": under.html,
        "math": "" if under.quiet else typeset(under.html),
        "quiet": under.quiet,
        "more": knob.folded,
    }


def _weight(at: int, model: ModelEntry) -> dict[str, Any]:
    """Return the control of a task's weight; a recipe's weight may lie outside the slider's range."""
    least, most, step = WEIGHT_RANGE
    return {
        "act": "weight",
        "name": model.name,
        "label": model.name,
        "mark": mark(at),
        "text": f"How much of {model.name}'s change is merged.",
        "value": model.weight,
        "default": 1.0,
        "least": min(least, model.weight),
        "most": max(most, model.weight),
        "step": step,
        "choices": [],
        "more": True,
    }
