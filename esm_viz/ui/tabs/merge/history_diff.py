"""Differences between two recipes in words: as one entry of the history, and as a list of all differences."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Difference, Evaluation
from esm_viz.figures.number_format import DASH, number, percent, safe, setting, short, signed
from esm_viz.merge import METHODS
from esm_viz.ui.session.session_store import State

SAME = '<li class="same">Nothing differs between the two recipes.</li>'


def against(difference: Difference) -> str:
    """Return the difference of B's and A's means in points, as HTML; grey if the paired interval contains 0."""
    kind, sign = ("up", "▲") if difference.mean > 0 else ("down", "▼")
    if not difference.told:
        kind, sign = "same", "≈"
    return f'<span class="{kind}">{sign} {signed(100 * difference.mean, 1)}</span>'


def in_words(before: State, now: State, difference: Difference | None = None) -> str:
    """Return all differences between two states and their results, one per line, as trusted HTML.

    Args:
        before: A, or the history's entry before.
        now: B.
        difference: comparison on the same images, if known.
    """
    recipe = list(_recipe_lines(before.recipe, now.recipe)) or [SAME]
    return "".join([*recipe, *_outcome(before, now, difference)])


def _recipe_lines(before: Recipe, now: Recipe) -> Iterator[str]:
    """Yield differences of the method, its knobs in order, knobs that only the other method has, and weights."""
    old, new = METHODS[before.method], METHODS[now.method]
    if old is not new:
        yield _line("Method", safe(old.title), safe(new.title))
    for name, knob in {**new.knobs, **old.knobs}.items():
        values = [setting(side.parameters[name]) if name in side.parameters else DASH for side in (before, now)]
        if values[0] != values[1]:
            yield _line(f"{safe(knob.label)} {knob.symbol}".strip(), *values)
    for first, second in zip(before.models, now.models, strict=True):
        if first.weight != second.weight:
            yield _line(f"Weight of {safe(second.name)}", setting(first.weight), setting(second.weight))


def _outcome(before: State, now: State, difference: Difference | None) -> Iterator[str]:
    old, new = before.evaluation, now.evaluation
    means = [f"{percent(side.mean('merged'), 1)} %" if side else DASH for side in (old, new)]
    points = f" {against(difference)} points" if difference else ""
    on = f" on {_images(new)} validation images a task" if new else ""
    yield _line(f"Mean accuracy{on}", means[0], means[1] + points, "did")
    first, second = before.report.interference.mean, now.report.interference.mean
    yield _line("Mean interference", number(first), number(second), "did")


def _images(scores: Evaluation) -> str:
    counts = sorted({task.merged.n for task in scores.tasks})
    return " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))


def _line(what: str, before: str, now: str, kind: str = "") -> str:
    return f'<li class="{kind}"><span class="w">{what}</span><span class="d">{before} → <b>{now}</b></span></li>'


def change_in_words(before: Recipe | None, now: Recipe) -> str:
    """Return the differences between two recipes in a few words, as HTML with the knobs' symbols."""
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


def fixed_in_words(held: Recipe, now: Recipe, free: Collection[str]) -> str:
    """Return the settings of a picture's recipe that have changed on screen since, as HTML; empty if none has.

    Args:
        held: the recipe of the picture.
        now: the recipe on screen.
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
    """Return the axis labels of a method's knobs, as HTML."""
    knobs = METHODS[method].knobs
    return {name: f"{safe(knob.label)} {knob.symbol}".strip() for name, knob in knobs.items()}


def _value(value: object) -> str:
    return short(value) if isinstance(value, float) else safe(str(value))
