"""A sweep over several knobs as a heat map, with a number in every cell and frames around B, A and the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

from esm_viz.core.records import Value
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
LABEL_ROOM = 0.055  # of an axis; of two values that are nearer, one has no label


class _Axis(NamedTuple):
    """The cells along one axis in their order: numbers stand at their true distances, words evenly."""

    order: list[int]  # index in the grid of each place
    values: list[float]
    edges: list[float]  # one more than values

    @classmethod
    def of(cls, values: Sequence[Value]) -> _Axis:
        numbers = [float(value) for value in values if not isinstance(value, str)]
        if len(numbers) < len(values):
            numbers = [float(at) for at in range(len(values))]
        order = sorted(range(len(numbers)), key=lambda at: numbers[at])
        inside = [numbers[at] for at in order]
        middles = [(low + high) / 2 for low, high in pairwise(inside)]
        first, last = (middles[0] - inside[0], inside[-1] - middles[-1]) if middles else (0.5, 0.5)
        return cls(order, inside, [inside[0] - first, *middles, inside[-1] + last])

    def box(self, at: int) -> tuple[float, float]:
        """Return the middle and the width of a cell."""
        low, high = self.edges[at : at + 2]
        return (low + high) / 2, high - low

    @property
    def reach(self) -> list[float]:
        """Return both ends of the axis, with room for a frame."""
        room = 0.01 * (self.edges[-1] - self.edges[0])
        return [self.edges[0] - room, self.edges[-1] + room]

    def labels(self, texts: Sequence[str], now: int | None) -> list[str]:
        """Return the labels of all places; of two that would touch, the one of the recipe on screen stays."""
        least = LABEL_ROOM * (self.edges[-1] - self.edges[0])
        shown: list[int] = []
        for at in sorted(range(len(self.values)), key=lambda at: (self.order[at] != now, at)):
            if all(abs(self.values[at] - self.values[other]) >= least for other in shown):
                shown.append(at)
        return [texts[self.order[at]] if at in shown else "" for at in range(len(self.values))]


def sweep_map(view: View) -> Figure:
    """Draw a heat map: the last knob is the x axis, all other knobs are the y axis."""
    record = view.record
    *others, (across, columns) = record.grid
    rows = [", ".join(setting(value) for value in values) for values in product(*(values for _, values in others))]
    width, count = len(columns), len(record.cells)
    x, y = _Axis.of(columns), _Axis.of(others[0][1] if len(others) == 1 else rows)
    cells = [row * width + column for row in y.order for column in x.order]  # from top left, row by row
    heights = [view.height(record.cells[at]) for at in cells]
    levels = [_level(view, height) for height in heights]
    bar, low, high = _scale(view, heights)
    boxes = [(*x.box(at % width), *y.box(at // width)) for at in range(count)]
    # the frame on screen comes first: the page moves it with the arrow keys
    shapes: list[dict[str, Any]] = []
    if view.now is not None:
        middle, wide, down, tall = boxes[cells.index(view.now)]
        shapes += ring(middle, down, wide, tall)
    for at, share, dash in ((view.best, BEST_FRAME, "solid"), (view.pinned, PINNED_FRAME, "dash")):
        if at is not None:
            middle, wide, down, tall = boxes[cells.index(at)]
            shapes += inner_ring(middle, down, share, dash, (wide, tall))
    texts = ["" if math.isnan(height) else view.text(height) for height in heights]
    shares = [math.nan if level is None else (level - low) / (high - low) for level in levels]
    title = ", ".join(view.shown.label(name) for name, _ in others)
    exact = [None if math.isnan(height) else height for height in heights]
    points = [record.points[at] for at in cells]
    heat = {
        "type": "heatmap",
        "x": x.edges,
        "y": y.edges,
        "z": _rows(levels, width),
        "text": _rows([view.hover(at) for at in cells], width),
        # what the click and the table of numbers read: the values, down and across, and the number itself
        "customdata": _rows([[*_pair(point), exact[at]] for at, point in enumerate(points)], width),
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "zmin": low,
        "zmax": high,
        "colorscale": ramp("seq" if view.accurate else "div"),
        "xgap": 2,
        "ygap": 2,
        "colorbar": bar,
    }
    numbers = cell_text([box[0] for box in boxes], [box[2] for box in boxes], texts, shares, (width + 2, len(rows)))
    whole = (x.edges[-1] - x.edges[0], y.edges[-1] - y.edges[0])
    numbers["meta"]["shares"] = [[box[1] / whole[0], box[3] / whole[1]] for box in boxes]
    first = (
        f"Stronger: higher {view.title} on {view.images}."
        if view.accurate
        else "Blue: less interference. Orange: more."
    )
    now = None if view.now is None else divmod(view.now, width)
    return picture(
        [heat, numbers],
        view.how(f"{first} Click a cell to use it."),
        view.says,
        (width + 2, len(rows)),
        margin={"l": label_margin(["", *rows]), "r": 92, "t": 12, "b": 44},
        xaxis=axis(
            view.shown.label(across),
            tickvals=x.values,
            ticktext=x.labels([setting(value) for value in columns], now[1] if now else None),
            tickangle=0,
            range=x.reach,
            showgrid=False,
        ),
        yaxis=axis(
            title,
            tickvals=y.values,
            ticktext=y.labels(rows, now[0] if now else None),
            range=y.reach[::-1],
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
