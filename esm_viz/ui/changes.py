"""What differs between two recipes, in words."""

from __future__ import annotations

from collections.abc import Collection

from esm_viz.figures.words import safe, short
from esm_viz.merge import METHODS
from esm_viz.recipe import Recipe


def change_in_words(before: Recipe | None, now: Recipe) -> str:
    """Say what differs between two recipes, as HTML with the knobs' symbols."""
    title = safe(METHODS[now.method].title)
    if before is None or before.method != now.method:
        return f"{title}, α {short(float(now.parameters['alpha']))}"
    knobs = METHODS[now.method].knobs
    parts = [
        f"{knobs[name].symbol or safe(knobs[name].label)} {_value(before.parameters[name])} → {_value(value)}"
        for name, value in now.parameters.items()
        if before.parameters.get(name) != value
    ]
    for old, new in zip(before.models, now.models, strict=True):
        if old.weight != new.weight:
            parts.append(f"weight of {safe(new.name)} {short(old.weight)} → {short(new.weight)}")
    return ", ".join(parts) or title


def fixed_in_words(held: Recipe, now: Recipe, free: Collection[str]) -> str:
    """Say what a picture was measured with where it has moved since, as HTML; nothing where nothing has.

    Args:
        held: the recipe that the picture belongs to.
        now: the one on screen.
        free: knobs that the picture varies.
    """
    if held.method != now.method:
        return f"for {safe(METHODS[held.method].title)}"
    knobs = METHODS[held.method].knobs
    parts = [
        f"{knobs[name].symbol or safe(knobs[name].label)} {_value(value)}"
        for name, value in held.parameters.items()
        if name not in free and now.parameters[name] != value
    ]
    for old, new in zip(held.models, now.models, strict=True):
        if old.weight != new.weight:
            parts.append(f"weight of {safe(old.name)} {short(old.weight)}")
    return f"for {', '.join(parts)}" if parts else ""


def labels_of(method: str) -> dict[str, str]:
    """Return what each knob of a method is called on an axis, as HTML."""
    knobs = METHODS[method].knobs
    return {name: f"{safe(knob.label)} {knob.symbol}".strip() for name, knob in knobs.items()}


def _value(value: object) -> str:
    return short(value) if isinstance(value, float) else safe(str(value))
