"""Interference per task and layer as a heat map, with each task's mean as a bar."""

from __future__ import annotations

import math
from typing import Any

from esm_viz.core.records import Interference
from esm_viz.figures.figure_parts import (
    LABEL,
    Columns,
    Figure,
    axis,
    label_margin,
    note,
    picture,
    ramp,
    rows_of,
    task_axis,
    task_colour,
    token,
)
from esm_viz.figures.number_format import number, safe, signed

DECADES = 1.0  # of the log scale in both directions: the colours end at 0.1 and 10
TINY = 1e-6  # interference below it is rounding noise
HEAT, BARS = (0.0, 0.8), (0.84, 1.0)  # shares of the plot's width
HOW = "Direction and size as one number, 1 − 2 s c + s²: 0 is the expert’s output, 1 the base’s. It ranks no merges."
HOW_DIFFERENCE = "Blue: B’s output is nearer to the expert’s than A’s. Orange: further. It ranks no merges."


def interference_figure(record: Interference, pinned: Interference | None = None, difference: bool = False) -> Figure:
    """Draw interference on a log scale around 1, or the ratio of B to A, with each task's mean as a bar.

    Blue is nearer to the expert's output in both. It measures no merge's quality: layer norms undo most of the size.

    Args:
        record: the merge on screen, B.
        pinned: the state it is compared with, A.
        difference: whether to colour by A / B instead of 1 / B; ignored without A.
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
    before = dict(zip(pinned.tasks, pinned.means, strict=True)) if pinned else {}
    levels = [_decades(mean) for mean in record.means]
    marks = [_decades(before.get(task, math.nan)) for task in record.tasks]
    far = max([DECADES, *(abs(level) for level in [*levels, *marks] if level is not None)])
    blocks = columns.axis(most=3)
    return picture(
        [*data, *_bars(levels), *(_lines(marks) if pinned else [])],
        HOW_DIFFERENCE if compare else HOW,
        _says(record, before),
        (math.ceil((len(record.layers) + 3) / HEAT[1]), len(record.tasks)),
        rows=record.tasks,
        names=("task", "layer", "interference"),
        layers=record.layers,
        margin={"l": label_margin(record.tasks), "r": 64 if pinned else 44, "t": 34, "b": 44},
        xaxis={**blocks, "title": {**blocks["title"], "text": "block, input → output"}, "domain": list(HEAT)},
        xaxis2=axis(
            domain=list(BARS),
            range=[-1.05 * far, 1.05 * far],
            tickvals=[0, 1],
            ticktext=["1", "10"],
            showgrid=False,
            zeroline=True,
            zerolinecolor=token("line-strong"),
            fixedrange=True,
            tickangle=0,
        ),
        yaxis=task_axis(record.tasks),
        annotations=columns.titles() + _means(record, before, compare),
        bargap=0.4,
    )


def _decades(mean: float) -> float | None:
    """Return log10 of a mean, the place on the bars' axis."""
    return None if math.isnan(mean) else math.log10(max(mean, TINY))


def _bars(levels: list[float | None]) -> list[dict[str, Any]]:
    """Return one bar per task, from 1 to its mean; without hover text, since the numbers are beside the bars."""
    return [
        {
            "type": "bar",
            "orientation": "h",
            "x": levels,
            "y": list(range(len(levels))),
            "xaxis": "x2",
            "width": 0.6,
            "marker": {"color": [task_colour(i) for i in range(len(levels))], "opacity": 0.92},
            "hoverinfo": "skip",
        }
    ]


def _lines(marks: list[float | None]) -> list[dict[str, Any]]:
    """Return A's means as vertical marks with a halo in the panel's colour."""
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": marks,
            "y": list(range(len(marks))),
            "xaxis": "x2",
            "marker": {"symbol": "line-ns", "size": 7, "line": {"width": width, "color": token(colour)}},
            "hoverinfo": "skip",
        }
        for width, colour in ((6, "panel"), (3, "ink"))
    ]


def _level(record: Interference, task: int, index: int, other: dict[tuple[str, str], float] | None) -> float | None:
    """Return the value of the colour: −log10 of B, or of B / A; larger is better."""
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


def _means(record: Interference, before: dict[str, float], compare: bool) -> list[dict[str, Any]]:
    """Return labels at the rows' right ends: the mean, or its difference from A."""
    head = "mean, line: A" if before else "mean"
    notes = [note(1, 1, head, xref="paper", yref="paper", xanchor="center", yanchor="bottom")]
    for row, (task, mean) in enumerate(zip(record.tasks, record.means, strict=True)):
        change = mean - before.get(task, math.nan)
        text, told = f"<b>{number(mean)}</b>", ""
        if not math.isnan(change):
            told = f"{safe(task)}: B {number(mean)}, A {number(before[task])}, {signed(change)}"
            text = signed(change) if compare else text
        notes.append(
            note(1.012, row, text, xref="paper", xanchor="left", color=token("ink"), size=LABEL, hovertext=told)
        )
    return notes


def _says(record: Interference, before: dict[str, float]) -> str:
    def told(task: str, mean: float) -> str:
        return f"{task} {number(mean)}" + (f" (A {number(before[task])})" if task in before else "")

    parts = ", ".join(told(task, mean) for task, mean in zip(record.tasks, record.means, strict=True))
    return f"Mean interference {number(record.mean)}: {parts}."
