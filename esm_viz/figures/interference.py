"""How much of each expert's own output shift the merge loses, layer by layer, without labels."""

from __future__ import annotations

import math
from typing import Any

from esm_viz.figures.base import LABEL, Columns, Figure, label_margin, note, picture, ramp, rows_of, task_axis, token
from esm_viz.figures.words import number, safe, signed
from esm_viz.types import Interference

TOP = 2.0  # of the scale, whose middle, 1, is as far off as not merging
REACH = 1.0  # of the B − A scale, both ways
HOW = "Blue, 0: own shift kept. Orange: worse than not merging, 1."


def interference_figure(record: Interference, pinned: Interference | None = None, difference: bool = False) -> Figure:
    """Draw interference on [0, TOP], or how B differs from A on ±REACH; blue is better in both.

    Args:
        record: the merge on screen, B.
        pinned: the state it is compared with, A.
        difference: show B − A; without A, B is shown.
    """
    columns = Columns.of(record.layers)
    other = _by_name(pinned) if pinned else {}
    compare = bool(difference and pinned)
    shown = _differences(record, other) if compare else record.values
    data = []
    for _, members in columns.families:
        data.append(
            {
                "type": "heatmap",
                "x": [columns.places[i] for i in members],
                "y": list(range(len(record.tasks))),
                "z": [[_finite(row[i], compare) for i in members] for row in shown],
                "text": [[_hover(record, t, i, other) for i in members] for t in range(len(record.tasks))],
                "customdata": rows_of(record.tasks, record.layers, record.values, members),
                "hovertemplate": "%{text}<extra></extra>",
                "hoverongaps": False,
                "zmin": -REACH if compare else 1 - TOP,
                "zmax": REACH if compare else 1,
                "colorscale": ramp("div"),
                "xgap": 1,
                "ygap": 2,
                "showscale": False,
            }
        )
    return picture(
        data,
        "Blue: B keeps more of this task than A. Orange: less." if compare else HOW,
        _says(record),
        (len(record.layers) + 3, len(record.tasks)),
        margin={"l": label_margin(record.tasks), "r": 108 if pinned else 60, "t": 34, "b": 44},
        xaxis=columns.axis(most=3),
        yaxis=task_axis(record.tasks),
        annotations=columns.titles() + _means(record, pinned),
    )


def _finite(value: float, compare: bool) -> float | None:
    """Return what is coloured: more is better on the diverging scale, so the distance below 1, or below A."""
    return None if math.isnan(value) else -value if compare else 1 - value


def _by_name(record: Interference) -> dict[tuple[str, str], float]:
    return {
        (task, layer.name): value
        for task, row in zip(record.tasks, record.values, strict=True)
        for layer, value in zip(record.layers, row, strict=True)
    }


def _differences(record: Interference, other: dict[tuple[str, str], float]) -> tuple[tuple[float, ...], ...]:
    return tuple(
        tuple(value - other.get((task, layer.name), math.nan) for layer, value in zip(record.layers, row, strict=True))
        for task, row in zip(record.tasks, record.values, strict=True)
    )


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
