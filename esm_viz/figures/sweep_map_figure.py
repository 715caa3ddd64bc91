"""A sweep over several knobs as a heat map, with a number in every cell and frames around B, A and the best."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

from esm_viz.figures.figure_parts import (
    Figure,
    axis,
    cell_text,
    colour_bar,
    inner_ring,
    label_margin,
    picture,
    ramp,
    ring,
)
from esm_viz.figures.interference_figure import DECADES, TINY
from esm_viz.figures.number_format import number, setting
from esm_viz.figures.sweep_cells import View

BEST_FRAME, PINNED_FRAME = 0.88, 0.76  # of a cell


def sweep_map(view: View) -> Figure:
    """Draw a heat map: the last knob is the x axis, all other knobs are the y axis."""
    record = view.record
    *others, (across, columns) = record.grid
    rows = [", ".join(setting(value) for value in values) for values in product(*(values for _, values in others))]
    width, count = len(columns), len(record.cells)
    heights = [view.height(cell) for cell in record.cells]
    levels = [_level(view, height) for height in heights]
    bar, low, high = _scale(view, heights)
    places = [(at % width, at // width) for at in range(count)]
    # the frame on screen comes first: the page moves it with the arrow keys
    shapes = ring(*places[view.now]) if view.now is not None else []
    shapes += inner_ring(*places[view.best], BEST_FRAME) if view.best is not None else []
    shapes += inner_ring(*places[view.pinned], PINNED_FRAME, "dash") if view.pinned is not None else []
    texts = ["" if math.isnan(height) else view.text(height) for height in heights]
    shares = [math.nan if level is None else (level - low) / (high - low) for level in levels]
    down = ", ".join(view.shown.label(name) for name, _ in others)
    exact = [None if math.isnan(height) else height for height in heights]
    heat = {
        "type": "heatmap",
        "x": list(range(width)),
        "y": list(range(len(rows))),
        "z": _rows(levels, width),
        "text": _rows([view.hover(at) for at in range(count)], width),
        # what the click and the table of numbers read: the values, down and across, and the number itself
        "customdata": _rows([[*_pair(point), exact[at]] for at, point in enumerate(record.points)], width),
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "zmin": low,
        "zmax": high,
        "colorscale": ramp("seq" if view.accurate else "div"),
        "xgap": 2,
        "ygap": 2,
        "colorbar": bar,
    }
    first = f"Stronger: higher {view.title}." if view.accurate else "Blue: less interference. Orange: more."
    return picture(
        [heat, cell_text([x for x, _ in places], [y for _, y in places], texts, shares, (width + 2, len(rows)))],
        view.how(f"{first} Click a cell to use it."),
        view.says,
        (width + 2, len(rows)),
        margin={"l": label_margin(["", *rows]), "r": 92, "t": 12, "b": 44},
        xaxis=axis(
            view.shown.label(across),
            tickvals=list(range(width)),
            ticktext=[setting(value) for value in columns],
            range=[-0.55, width - 0.45],
            showgrid=False,
        ),
        yaxis=axis(
            down,
            tickvals=list(range(len(rows))),
            ticktext=rows,
            range=[len(rows) - 0.45, -0.55],
            showgrid=False,
        ),
        shapes=shapes,
    )


def _pair(point: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return a cell's place as its row and its column."""
    *down, across = point
    return (down[0] if len(down) == 1 else ", ".join(setting(value) for value in down)), across


def _level(view: View, height: float) -> float | None:
    """Return the value of the colour, larger is better: per cent, or −log10 of the interference."""
    if math.isnan(height):
        return None
    return height if view.accurate else -math.log10(max(height, TINY))


def _scale(view: View, heights: list[float]) -> tuple[dict[str, Any], float, float]:
    """Return colour bar and ends of the scale: round numbers around all cells, or a decade either side of 1."""
    if not view.accurate:
        ticks = [-DECADES, 0.0, DECADES]
        return colour_bar("interference", ticks, [number(10**-tick, 1) for tick in ticks]), -DECADES, DECADES
    known = [height for height in heights if not math.isnan(height)] or [0.0]
    low = 5.0 * math.floor(min(known) / 5)
    high = max(low + 5, 5.0 * math.ceil(max(known) / 5))
    step = 5 if high - low <= 25 else 10 if high - low <= 50 else 20
    ticks = [low + at for at in range(0, int(high - low) + 1, step)]
    return colour_bar(view.title.removeprefix("% ") + ", %", ticks, [f"{tick:g}" for tick in ticks]), low, high


def _rows(cells: list[Any], width: int) -> list[list[Any]]:
    return [cells[at : at + width] for at in range(0, len(cells), width)]
