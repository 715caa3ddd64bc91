"""The size of the merged change per layer, as the levels of polarized scaling are switched on one after another."""

from __future__ import annotations

import math
from typing import Any

from esm_viz.core.records import ScalingProfile
from esm_viz.figures.figure_parts import Columns, Figure, axis, note, picture, token
from esm_viz.figures.number_format import minus, number

HOW = "Each line adds one level of scaling to the one before."
HOW_ALONE = "Each point is one layer of the merged change; this method has no levels of scaling."
STYLES: dict[str, tuple[str, str, str, float]] = {  # level -> colour, mark, dash, width
    "none": ("ref", "circle-open", "dash", 2.5),
    "spectrum": ("seq-3", "square", "solid", 2),
    "task": ("seq-4", "triangle-up", "solid", 2),
    "dimension": ("seq-5", "diamond", "solid", 2),
    "layer": ("ink", "circle", "solid", 3),
}
GLYPHS = {"circle-open": "○", "square": "■", "triangle-up": "▲", "diamond": "◆", "circle": "●"}
LINE = 18  # px between two names
MOST_TICKS = 3  # the picture is low
"""Marks and dashes distinguish the levels without colours."""


def scaling_figure(record: ScalingProfile) -> Figure:
    """Draw one line per level and family on a log scale, where a level that scales all layers equally is parallel."""
    columns = Columns.of(record.layers)
    data = [
        _line(record, columns, level, members) for level in range(len(record.levels)) for _, members in columns.families
    ]
    sizes = [value for row in record.norms for value in row if value > 0]
    low, high = (math.log10(end) for end in (min(sizes, default=0.1), max(sizes, default=1.0)))
    ticks = _ticks(low, high)
    room = 0.05 * max(high - low, 0.3)
    return picture(
        data,
        HOW if len(record.levels) > 1 else HOW_ALONE,
        _says(record),
        table=[["layer", *(f"‖ΔW‖, {level}" for level in record.levels)]]
        + [[layer.label, *norms] for layer, *norms in zip(record.layers, *record.norms, strict=True)],
        margin={"l": 58, "r": 104 if len(record.levels) > 1 else 16, "t": 22, "b": 44},
        xaxis=columns.axis(most=3),
        yaxis=axis(
            "‖ΔW‖",
            type="log",
            range=[low - room, high + room],
            tickvals=ticks,
            ticktext=[minus(f"{tick:g}") for tick in ticks],
        ),
        annotations=columns.titles() + (_names(record) if len(record.levels) > 1 else []),
    )


def _names(record: ScalingProfile) -> list[dict[str, Any]]:
    """Return the levels' names below one another at the right, in pixels, so that all fit a low picture too."""
    places = range(len(record.levels))
    return [
        note(
            1.0,
            0.5,
            f'<span style="color:{token(STYLES[name][0])}">{GLYPHS[STYLES[name][1]]}</span> {_title(name)}',
            xref="paper",
            yref="paper",
            xanchor="left",
            xshift=8,
            yshift=LINE * (len(places) / 2 - at - 0.5),
            color=token("ink"),
        )
        for at, name in zip(places, record.levels, strict=True)
    ]


def _title(level: str) -> str:
    return level if level == "none" else f"+ {level}"


def _line(record: ScalingProfile, columns: Columns, level: int, members: tuple[int, ...]) -> dict[str, Any]:
    name, values = record.levels[level], record.norms[level]
    colour, mark, dash, width = STYLES[name]
    known = [i for i in members if values[i] > 0]  # norms of 0 cannot be drawn on a log scale
    title = _title(name)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": title,
        "x": [columns.places[i] for i in known],
        "y": [values[i] for i in known],
        "line": {"color": token(colour), "width": width, "dash": dash},
        "marker": {"color": token(colour), "symbol": mark, "size": 8},
        "text": [record.layers[i].label for i in known],
        "hovertemplate": f"<b>%{{text}}</b><br>‖ΔW‖ %{{y:.3g}}, {title}<extra></extra>",
    }


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two powers of ten, few enough to be read."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [step * 10.0**power for power in powers for step in steps]
        shown = [tick for tick in found if low - 0.05 <= math.log10(tick) <= high + 0.05]
        if len(shown) <= MOST_TICKS:
            return shown
    return shown[:: math.ceil(len(shown) / MOST_TICKS)]


def _says(record: ScalingProfile) -> str:
    last = record.norms[-1]
    if not last:
        return "No layers."
    at = max(range(len(last)), key=lambda i: last[i])
    return f"Largest change: {record.layers[at].label}, {number(record.norms[0][at])} to {number(last[at])}."
