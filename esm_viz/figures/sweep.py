"""A sweep: a curve over one knob with its 95 % intervals, a heat map over more; the recipe's own cell is marked."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

from esm_viz.figures.base import (
    Figure,
    axis,
    cell_text,
    colour_bar,
    label_margin,
    marked,
    percent_ticks,
    picture,
    ramp,
    ring,
    token,
)
from esm_viz.figures.interference import DECADES, TINY
from esm_viz.figures.words import number, percent, safe, setting
from esm_viz.types import Evaluation, Sweep, SweepCell


def sweep_figure(record: Sweep) -> Figure:
    """Draw mean accuracy over one knob, the share of the experts' over more; without labels the mean interference.

    Of several knobs the last lies across, the others are listed down.
    """
    return _curve(record) if len(record.grid) == 1 else _heat(record)


def _curve(record: Sweep) -> Figure:
    ((name, values),) = record.grid
    numbers = [value for value in values if not isinstance(value, str)]
    words = len(numbers) < len(values)  # then cells stand side by side, in the order of the grid
    places = list(range(len(values))) if words else numbers
    order = sorted(range(len(values)), key=lambda at: places[at])
    cells = [record.cells[at] for at in order]
    heights = [100 * cell.evaluation.mean("merged") if cell.evaluation else -cell.value for cell in cells]
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers" if words else "lines+markers",
        "x": [places[at] for at in order],
        "y": [None if math.isnan(height) else height for height in heights],
        "line": {"color": token("ink"), "width": 3},
        "marker": {"size": 9, "color": token("ink")},
        "text": [_hover(record, at) for at in order],
        "customdata": [values[at] for at in order],
        "hovertemplate": "%{text}<extra></extra>",
    }
    known = [height for height in heights if not math.isnan(height)]
    y = axis("mean interference", range=[0, 1.08 * max([1.0, *known])])
    if record.split:
        trace["error_y"], lowest = _intervals([cell.evaluation for cell in cells if cell.evaluation])
        y = axis(f"mean accuracy, {record.split}, %", **percent_ticks(lowest))
    marks = {} if record.baseline is None else marked(places[record.baseline], "the recipe")
    ticks = {"tickvals": places, "ticktext": [setting(value) for value in values]} if words else {}
    return picture(
        [trace],
        "Each point is one cell, with its 95 % interval."
        if record.split
        else "Each point is one cell; less is better.",
        _says(record),
        margin={"l": 58, "r": 16, "t": 10, "b": 44},
        xaxis=axis(safe(name), **ticks),
        yaxis=y,
        **marks,
    )


def _intervals(scores: list[Evaluation]) -> tuple[dict[str, Any], float]:
    """Return the error bars of mean accuracies, and their lowest end in per cent."""
    means = [100 * score.mean("merged") for score in scores]
    bounds = [[100 * end for end in score.mean_interval("merged")] for score in scores]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [high - mean for (_, high), mean in zip(bounds, means, strict=True)],
        "arrayminus": [mean - low for (low, _), mean in zip(bounds, means, strict=True)],
        "color": token("ink"),
        "thickness": 2,
        "width": 5,
    }
    return bars, min(low for low, _ in bounds)


def _heat(record: Sweep) -> Figure:
    *others, (across, columns) = record.grid
    rows = [", ".join(setting(value) for value in values) for values in product(*(values for _, values in others))]
    width = len(columns)
    heights = [_height(record, cell) for cell in record.cells]
    levels = [_level(record, height) for height in heights]
    bar, low, high = _scale(record, heights)
    places = [(at % width, at // width) for at in range(len(record.cells))]
    spot = None if record.baseline is None else places[record.baseline]
    heat = {
        "type": "heatmap",
        "x": list(range(width)),
        "y": list(range(len(rows))),
        "z": _rows(levels, width),
        "text": _rows([_hover(record, at) for at in range(len(record.cells))], width),
        "customdata": _rows([list(point) for point in record.points], width),
        "meta": {"values": _rows([None if math.isnan(height) else height for height in heights], width)},
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "zmin": low,
        "zmax": high,
        "colorscale": ramp("seq" if record.split else "div"),
        "xgap": 2,
        "ygap": 2,
        "colorbar": bar,
    }
    shares = [math.nan if level is None else (level - low) / (high - low) for level in levels]
    texts = [_cell(record, height) for height in heights]
    how = (
        "Stronger: more accurate."
        if record.split
        else "Blue: less interference. Neutral: 1, as far off as not merging."
    )
    return picture(
        [heat, cell_text([x for x, _ in places], [y for _, y in places], texts, shares, (width + 2, len(rows)))],
        how + (" Framed: the recipe." if spot else ""),
        _says(record),
        (width + 2, len(rows)),
        names=(
            *(name for name, _ in record.grid),
            f"share of the experts, {record.split}, %" if record.split else "mean interference",
        ),
        margin={"l": label_margin([", ".join(name for name, _ in others), *rows]), "r": 92, "t": 22, "b": 44},
        xaxis=axis(
            safe(across),
            tickvals=list(range(width)),
            ticktext=[setting(value) for value in columns],
            range=[-0.55, width - 0.45],
            showgrid=False,
        ),
        yaxis=axis(
            safe(", ".join(name for name, _ in others)),
            tickvals=list(range(len(rows))),
            ticktext=rows,
            range=[len(rows) - 0.45, -0.55],
            showgrid=False,
        ),
        shapes=ring(*spot) if spot else [],
    )


def _height(record: Sweep, cell: SweepCell) -> float:
    """Return what a cell is judged by: the share of the experts' accuracy in per cent, or the mean interference."""
    return 100 * cell.value if record.split else -cell.value


def _level(record: Sweep, height: float) -> float | None:
    """Return what is coloured, more is better: per cent, or −log10 of the interference as in its own picture."""
    if math.isnan(height):
        return None
    return height if record.split else -math.log10(max(height, TINY))


def _scale(record: Sweep, heights: list[float]) -> tuple[dict[str, Any], float, float]:
    """Return colour bar and ends of the colours: round numbers round all cells, or a decade each way round 1."""
    if not record.split:
        ticks = [-DECADES, 0.0, DECADES]
        return colour_bar("mean interference", ticks, [number(10**-tick, 1) for tick in ticks]), -DECADES, DECADES
    known = [height for height in heights if not math.isnan(height)] or [0.0]
    low = 5.0 * math.floor(min(known) / 5)
    high = max(low + 5, 5.0 * math.ceil(max(known) / 5))
    step = 5 if high - low <= 25 else 10 if high - low <= 50 else 20
    ticks = [low + at for at in range(0, int(high - low) + 1, step)]
    return colour_bar(f"of the experts, {record.split}", ticks, [f"{tick:g} %" for tick in ticks]), low, high


def _cell(record: Sweep, height: float) -> str:
    return number(height, 1 if record.split else 2)


def _hover(record: Sweep, at: int) -> str:
    cell, values = record.cells[at], zip(record.grid, record.points[at], strict=True)
    lines = ["<b>" + ", ".join(f"{safe(name)} {setting(value)}" for (name, _), value in values) + "</b>"]
    if cell.evaluation:
        low, high = cell.evaluation.mean_interval("merged")
        interval = f"{percent(low, 1)} to {percent(high, 1)}"
        lines.append(f"accuracy {percent(cell.evaluation.mean('merged'), 1)} % ({interval})")
        lines.append(f"{percent(cell.evaluation.mean_normalised, 1)} % of the experts")
    if cell.interference:
        lines.append(f"interference {number(cell.interference.mean, 3)}")
    return "<br>".join(lines)


def _says(record: Sweep) -> str:
    what = f"accuracy on {record.images} {record.split} images" if record.split else "interference, without labels"
    said = f"{len(record.cells)} cells over {', '.join(name for name, _ in record.grid)}, {what}"
    if record.best is None:
        return f"{said}."
    values = zip(record.grid, record.points[record.best], strict=True)
    best = ", ".join(f"{name} {setting(value)}" for (name, _), value in values)
    height = _cell(record, _height(record, record.cells[record.best]))
    return f"{said}; best at {best}: {height}{' % of the experts' if record.split else ''}."


def _rows(cells: list[Any], width: int) -> list[list[Any]]:
    return [cells[at : at + width] for at in range(0, len(cells), width)]
