"""The stability of an essential subspace: overlap and energy kept by number of proxies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from esm_viz.core.records import Draws, Spread, Stability
from esm_viz.figures.figure_parts import (
    LABEL,
    Figure,
    axis,
    note,
    picture,
    spread_out,
    task_colour,
    task_glyph,
    task_symbol,
    token,
)
from esm_viz.figures.number_format import number, percent

LEAST_GAP = 0.1  # between two labels, in units of the y axis


class Curve(NamedTuple):
    """One line of the figure: its name, its values by number of images, and its style; its symbol is not a task's."""

    name: str
    values: tuple[Spread, ...]
    colour: str
    glyph: str
    symbol: str
    dash: str


def stability_figure(record: Stability, index: int = 0) -> Figure:
    """Draw means over draws with their range, on a scale of 0 to 1, and two levels to compare with.

    Args:
        record: of one task and layer.
        index: the task's place in the recipe, for its colour.
    """
    counts, sizes = [size.images for size in record.sizes], record.sizes
    all_of_them, mine = f"with all {counts[-1]}", task_colour(index)
    curves = (
        Curve("energy kept", tuple(size.energy for size in sizes), token("ink"), "✕", "x", "dot"),
        Curve(
            all_of_them, tuple(size.with_all for size in sizes), mine, task_glyph(index), task_symbol(index), "solid"
        ),
        Curve("two draws", tuple(size.between for size in sizes), token("ref"), "∗", "asterisk", "solid"),
    )
    levels = (("┅ SVD, no images", record.svd_overlap, "dash"), ("┈ random", record.random_level, "dot"))
    ends = [
        (f'<span style="color:{curve.colour}">{curve.glyph}</span> {curve.name}', _last(curve.values))
        for curve in curves
    ]
    ends += [(name, level) for name, level, _ in levels]
    return picture(
        [{**_line(curve, counts), "meta": {"tasks": [record.task]}} for curve in curves],
        "Flat lines: more proxy images would change little.",
        _says(record),
        margin={"l": 52, "r": 138, "t": 8, "b": 44},
        xaxis=axis(
            "proxy images drawn",
            type="log",
            range=[math.log10(counts[0]) - 0.08, math.log10(counts[-1]) + 0.08],
            tickvals=counts,
            ticktext=[str(count) for count in counts],
            fixedrange=True,
        ),
        yaxis=axis(
            f"overlap at r = {record.rank}, energy", range=[0, 1.05], tickvals=[0, 0.25, 0.5, 0.75, 1], fixedrange=True
        ),
        shapes=[_level(value, dash) for _, value, dash in levels if not math.isnan(value)],
        annotations=_labels([(name, value) for name, value in ends if not math.isnan(value)]),
    )


def _line(curve: Curve, counts: Sequence[int]) -> dict[str, Any]:
    known = [(count, value) for count, value in zip(counts, curve.values, strict=True) if not math.isnan(value.mean)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": curve.name,
        "x": [count for count, _ in known],
        "y": [value.mean for _, value in known],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [value.high - value.mean for _, value in known],
            "arrayminus": [value.mean - value.low for _, value in known],
            "thickness": 1.5,
            "width": 3,
            "color": curve.colour,
        },
        "line": {"width": 2.5, "dash": curve.dash, "color": curve.colour},
        "marker": {
            "size": 8,
            "symbol": curve.symbol,
            "color": curve.colour,
            "line": {"width": 1.5, "color": curve.colour},
        },
        "text": [f"{number(value.low, 3)} to {number(value.high, 3)}" for _, value in known],
        "hovertemplate": "%{y:.3f} (%{text}) with %{x} images<extra><b>%{fullData.name}</b></extra>",
    }


def _last(values: Sequence[Spread]) -> float:
    known = [value.mean for value in values if not math.isnan(value.mean)]
    return known[-1] if known else math.nan


def _level(value: float, dash: str) -> dict[str, Any]:
    line = {"color": token("line-strong"), "width": 1.5, "dash": dash}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line}


def _labels(ends: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    heights = spread_out([value for _, value in ends], LEAST_GAP, 0.0, 1.0)
    return [
        note(1.0, height, name, xref="paper", xanchor="left", xshift=6, color=token("ink"), size=LABEL)
        for (name, _), height in zip(ends, heights, strict=True)
    ]


def _says(record: Stability) -> str:
    where, whole = f"{record.task}, {record.layer.label}", record.sizes[-1]
    if math.isnan(whole.energy.mean):
        return f"{where}: this expert did not change here."
    half: Draws | None = next((size for size in reversed(record.sizes) if not math.isnan(size.between.mean)), None)
    if half is None:
        return f"{where}: all proxies are one draw, which keeps {percent(whole.energy.mean, 1)} % of the energy."
    images = f"{half.images} image{'s' if half.images > 1 else ''}"
    return (
        f"{where}: two draws of {images} overlap by {number(half.between.mean)}, random subspaces by "
        f"{number(record.random_level)}; {images} kept {percent(half.energy.mean, 1)} % of the energy, all "
        f"{whole.images} keep {percent(whole.energy.mean, 1)} %."
    )
