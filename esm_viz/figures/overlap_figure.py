"""The overlaps of all pairs of tasks at one layer: a lower triangle with the names on its diagonal."""

from __future__ import annotations

import math

from esm_viz.core.records import Overlap
from esm_viz.figures.figure_parts import (
    Figure,
    axis,
    cell_text,
    colour_bar,
    label_margin,
    note,
    picture,
    ramp,
    ring,
    task_colour,
    task_glyph,
    task_labels,
)
from esm_viz.figures.number_format import number, safe

SPAN = 0.5  # the scale runs from chance to chance + SPAN, at every layer alike


def overlap_figure(record: Overlap, pair: tuple[str, str] | None = None) -> Figure:
    """Draw the overlaps of all pairs at one layer.

    Args:
        record: T x T overlaps with the level of random subspaces.
        pair: the two selected tasks.
    """
    count, low = len(record.tasks), record.random_level
    high = min(1.0, low + SPAN)
    ys, xs = list(range(1, count)), list(range(count - 1))
    pairs = [(y, x) for y in ys for x in xs if x < y]
    values = [[record.values[y][x] if x < y else None for x in xs] for y in ys]
    ticks = [low] + [
        t / 10 for t in range(math.floor(low * 10) + 1, 11, 2) if t / 10 <= high + 1e-9 and t / 10 - low > 0.04
    ]
    heat = {
        "type": "heatmap",
        "x": xs,
        "y": ys,
        "z": values,
        "text": [[_hover(record, y, x) if x < y else "" for x in xs] for y in ys],
        "customdata": [[[record.tasks[x], record.tasks[y]] for x in xs] for y in ys],
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "zmin": low,
        "zmax": high,
        "colorscale": ramp("seq"),
        "xgap": 2,
        "ygap": 2,
        "colorbar": colour_bar("overlap", ticks, ["chance", *(number(t, 1) for t in ticks[1:])]),
    }
    texts = cell_text(
        [x for _, x in pairs],
        [y for y, _ in pairs],
        [number(record.values[y][x]).removeprefix("0") for y, x in pairs],
        [(record.values[y][x] - low) / max(high - low, 1e-9) for y, x in pairs],
        (count + 1, count),
    )
    names = [
        note(
            i - 0.42,
            i,
            f'<span style="color:{task_colour(i)}">{task_glyph(i)}</span> {safe(record.tasks[i])}',
            xanchor="left",
        )
        for i in xs
    ]
    at = sorted(record.tasks.index(name) for name in pair) if pair and set(pair) <= set(record.tasks) else []
    return picture(
        [heat, texts],
        "Stronger pairs share more directions. Faintest: chance.",
        _says(record, pair),
        (0, count),
        rows=record.tasks,
        square=True,
        names=("task", "other task", "overlap"),
        margin={"l": label_margin(record.tasks), "r": 84, "t": 2, "b": 10},
        xaxis=axis(tickvals=[], range=[-0.55, count + 0.5], showgrid=False, showline=False, fixedrange=True),
        yaxis=axis(
            tickvals=ys,
            ticktext=task_labels(record.tasks)[1:],
            range=[count - 0.45, -0.5],
            showgrid=False,
            showline=False,
            fixedrange=True,
        ),
        annotations=names,
        shapes=ring(at[0], at[1]) if len(at) == 2 else [],
    )


def _hover(record: Overlap, y: int, x: int) -> str:
    head = f"<b>{safe(record.tasks[x])}, {safe(record.tasks[y])}</b>"
    level = f"chance {number(record.random_level)}"
    return f"{head}<br>overlap {number(record.values[y][x])} of {record.k} directions, {level}"


def _says(record: Overlap, pair: tuple[str, str] | None) -> str:
    if not pair or not set(pair) <= set(record.tasks):
        return f"Overlap of {len(record.tasks)} tasks at {record.layer.label}; chance is {number(record.random_level)}."
    value = record.values[record.tasks.index(pair[0])][record.tasks.index(pair[1])]
    level = f"chance is {number(record.random_level)}"
    return f"Selected: {pair[0]} and {pair[1]} at {record.layer.label}, overlap {number(value)}; {level}."
