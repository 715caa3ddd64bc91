"""What differs between two recipes, in words."""

from __future__ import annotations

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
    if before.dtype != now.dtype:
        parts.append(f"{before.dtype} → {now.dtype}")
    return ", ".join(parts) or title


def _value(value: object) -> str:
    return short(value) if isinstance(value, float) else safe(str(value))
