"""A sweep over one knob as a curve: the mean with its interval, and a thin line for each task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from esm_viz.core.records import SweepCell
from esm_viz.figures.alpha_curve_figure import MOST_LABELS, end_labels, task_end
from esm_viz.figures.figure_parts import (
    Figure,
    axis,
    headed,
    marked,
    percent_ticks,
    picture,
    task_colour,
    task_symbol,
    token,
)
from esm_viz.figures.number_format import number, safe, setting
from esm_viz.figures.sweep_cells import View


def sweep_curve(view: View) -> Figure:
    """Draw the measured cells by the knob's value; for knobs with words, in the order of the grid."""
    ((name, values),) = view.record.grid
    numbers = [value for value in values if not isinstance(value, str)]
    words = len(numbers) < len(values)
    places = [float(at) for at in range(len(values))] if words else [float(value) for value in numbers]
    reached = [at for at, cell in enumerate(view.record.cells) if not math.isnan(view.height(cell))]
    order = sorted(reached, key=lambda at: places[at])
    cells = [view.record.cells[at] for at in order]
    shared = {
        "type": "scatter",
        "mode": "markers" if words else "lines+markers",
        "x": [places[at] for at in order],
        "customdata": [values[at] for at in order],
        "hovertemplate": "%{text}<extra></extra>",
    }
    lines = [] if view.quantity == "task" else _task_lines(view, cells, shared)
    colour = task_colour(view.shown.task) if view.quantity == "task" else token("ink")
    main: dict[str, Any] = {
        **shared,
        "name": view.title,
        "y": [view.height(cell) for cell in cells],
        "line": {"color": colour, "width": 3.5},
        "marker": {"size": [13 if at == view.best else 9 for at in order], "color": colour, "opacity": 1},
        "text": [view.hover(at) for at in order],
    }
    bounds = [bound for bound in map(view.interval, cells) if bound is not None]
    y = _y_axis(view, [*main["y"], *(value for line in lines for value in line["y"])], bounds)
    marks = _marks(view, places)
    notes = [note for mark in marks for note in mark["annotations"]]
    if view.best is not None:
        best = view.text(view.height(view.record.cells[view.best]))
        notes.append(headed(places[view.best], (min(places), max(places)), f"best {best}"))
    named = 0 < len(lines) <= MOST_LABELS
    if named and cells:
        ends = [
            (task_end(at, task), line["y"][-1]) for at, (task, line) in enumerate(zip(view.names, lines, strict=True))
        ]
        notes += end_labels([*ends, ("<b>mean</b>", main["y"][-1])], y["range"])
    thick = "Thick: the mean and its 95 % interval." if bounds else "Thick: the mean."
    ticks = {"tickvals": places, "ticktext": [setting(value) for value in values]} if words else {}
    return picture(
        [*_band(shared["x"], bounds, words, colour), *lines, main],
        f"{'With its 95 % interval.' if view.quantity == 'task' else thick} Click a point to use it.",
        view.says,
        margin={"l": 72, "r": 96 if named else 16, "t": 24, "b": 44},
        xaxis=axis(view.shown.label(name), showgrid=False, **ticks),
        yaxis=y,
        shapes=[shape for mark in marks for shape in mark["shapes"]],
        annotations=notes,
        hovermode="closest",
    )


def _task_lines(view: View, cells: Sequence[SweepCell], shared: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a thin line for each task; with more than MOST_LABELS tasks, lines are grey without labels."""
    lines = []
    for at, task in enumerate(view.names):
        colour = token("line-strong") if len(view.names) > MOST_LABELS else task_colour(at)
        heights = [view.tasks(cell)[at] for cell in cells]
        lines.append(
            {
                **shared,
                "name": safe(task),
                "y": heights,
                "line": {"color": colour, "width": 1.5},
                "marker": {"size": 6, "color": colour, "symbol": task_symbol(at)},
                "text": [f"<b>{safe(task)}</b> {number(height, 0 if view.accurate else 2)}" for height in heights],
            }
        )
    return lines


def _marks(view: View, places: Sequence[float]) -> list[dict[str, Any]]:
    """Return the upright lines of A and B."""
    marks = [marked(places[view.pinned], "A", pinned=True)] if view.pinned is not None else []
    label = "the recipe" if view.shown.now is None else "B"
    return marks + ([marked(places[view.now], label)] if view.now is not None else [])


def _y_axis(view: View, heights: Sequence[float], bounds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    known = [height for height in heights if not math.isnan(height)]
    if not view.accurate:
        return axis("interference, mean over tasks", range=[0, 1.08 * max([1.0, *known])])
    unit = "" if view.quantity == "direction" else ", %"
    title = f"{view.title} on {view.images.replace(' images', '<br>images')}{unit}"
    return axis(title, **percent_ticks(min([100.0, *known, *(low for low, _ in bounds)])))


def _band(xs: Any, bounds: list[tuple[float, float]], words: bool, colour: str) -> list[dict[str, Any]]:
    """Return the intervals: a band for numeric knobs, vertical bars for words; empty without intervals."""
    if not bounds:
        return []
    common = {"type": "scatter", "hoverinfo": "skip", "showlegend": False}
    lows, highs = [low for low, _ in bounds], [high for _, high in bounds]
    if words:
        middle = [(low + high) / 2 for low, high in bounds]
        half = [(high - low) / 2 for low, high in bounds]
        bars = {"type": "data", "array": half, "color": colour, "thickness": 2, "width": 5}
        return [
            {**common, "mode": "markers", "x": xs, "y": middle, "marker": {"size": 1, "color": colour}, "error_y": bars}
        ]
    return [{**common, "mode": "lines", "x": [*xs, *xs[::-1]], "y": [*highs, *lows[::-1]], "fill": "toself",
             "fillcolor": token("line"), "line": {"width": 0}}]  # fmt: skip
