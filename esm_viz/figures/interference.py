"""How much of each expert's own output shift the merge loses, layer by layer, without labels."""

from __future__ import annotations

import math
from typing import Any

from esm_viz.figures.base import LABEL, Columns, Figure, label_margin, note, picture, ramp, rows_of, task_axis, token
from esm_viz.figures.words import number, safe, signed
from esm_viz.types import Interference

DECADES = 1.0  # of the log scale, both ways: 0.1 is as blue, 10 as orange, as it gets
TINY = 1e-6  # interference below it is rounding noise
HOW = "Blue: own shift kept. Neutral, 1: as far off as not merging."
HOW_DIFFERENCE = "Blue: B keeps more of this task than A. Orange: less."


def interference_figure(record: Interference, pinned: Interference | None = None, difference: bool = False) -> Figure:
    """Draw interference on a log scale round 1, or that of B against A; blue is better in both.

    Args:
        record: the merge on screen, B.
        pinned: the state it is compared with, A.
        difference: colour by A / B instead of 1 / B; without A, B is shown.
    """
    columns = Columns.of(record.layers)
    other = _by_name(pinned) if pinned else {}
    compare = bool(difference and pinned)
    data = []
    for _, members in columns.families:
        data.append(
            {
                "type": "heatmap",
                "x": [columns.places[i] for i in members],
                "y": list(range(len(record.tasks))),
                "z": [
                    [_level(record, t, i, other if compare else None) for i in members]
                    for t in range(len(record.tasks))
                ],
                "text": [[_hover(record, t, i, other) for i in members] for t in range(len(record.tasks))],
                "customdata": rows_of(record.tasks, record.layers, record.values, members),
                "hovertemplate": "%{text}<extra></extra>",
                "hoverongaps": False,
                "zmin": -DECADES,
                "zmax": DECADES,
                "colorscale": ramp("div"),
                "xgap": 1,
                "ygap": 2,
                "showscale": False,
            }
        )
    return picture(
        data,
        HOW_DIFFERENCE if compare else HOW,
        _says(record),
        (len(record.layers) + 3, len(record.tasks)),
        rows=record.tasks,
        names=("task", "layer", "interference"),
        margin={"l": label_margin(record.tasks), "r": 108 if pinned else 60, "t": 34, "b": 44},
        xaxis=columns.axis(most=3),
        yaxis=task_axis(record.tasks),
        annotations=columns.titles() + _means(record, pinned),
    )


def _level(record: Interference, task: int, index: int, other: dict[tuple[str, str], float] | None) -> float | None:
    """Return what is coloured, −log10 of B, or of B / A: more is better."""
    value = record.values[task][index]
    base = 1.0 if other is None else other.get((record.tasks[task], record.layers[index].name), math.nan)
    if math.isnan(value) or math.isnan(base):
        return None
    return math.log10(max(base, TINY) / max(value, TINY))


def _by_name(record: Interference) -> dict[tuple[str, str], float]:
    return {
        (task, layer.name): value
        for task, row in zip(record.tasks, record.values, strict=True)
        for layer, value in zip(record.layers, row, strict=True)
    }


def _hover(record: Interference, task: int, index: int, other: dict[tuple[str, str], float]) -> str:
    layer, value = record.layers[index], record.values[task][index]
    text = f"<b>{safe(record.tasks[task])}, {layer.label}</b><br>"
    if math.isnan(value):
        return f"{text}this expert did not change here"
    before = other.get((record.tasks[task], layer.name), math.nan)
    return f"{text}interference {number(value)}" + ("" if math.isnan(before) else f", A {number(before)}")


def _means(record: Interference, pinned: Interference | None) -> list[dict[str, Any]]:
    """Return the mean of each row at its right end, with its difference to A."""
    before = dict(zip(pinned.tasks, pinned.means, strict=True)) if pinned else {}
    notes = [
        note(1.01, 1, "mean, B − A" if pinned else "mean", xref="paper", yref="paper", xanchor="left", yanchor="bottom")
    ]
    for row, (task, mean) in enumerate(zip(record.tasks, record.means, strict=True)):
        change = mean - before.get(task, math.nan)
        text = f"<b>{number(mean)}</b>"
        if not math.isnan(change):
            small = abs(change) < 0.005
            colour = token("ink-3" if small else "good" if change < 0 else "bad")
            sign = "≈" if small else "▼" if change < 0 else "▲"
            text += f' <span style="color:{colour}">{sign} {signed(change)}</span>'.replace("0.", ".")
        notes.append(note(1.01, row, text, xref="paper", xanchor="left", color=token("ink"), size=LABEL))
    return notes


def _says(record: Interference) -> str:
    parts = ", ".join(f"{task} {number(mean)}" for task, mean in zip(record.tasks, record.means, strict=True))
    return f"Mean interference {number(record.mean)}: {parts}."
