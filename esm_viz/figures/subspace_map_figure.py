"""All tasks and layers on one plane: near points share directions with the same tasks."""

from __future__ import annotations

import math
from typing import Any

from esm_viz.core.records import SubspaceMap
from esm_viz.figures.figure_parts import LABEL, Figure, axis, note, picture, task_colour, task_glyph, task_symbol, token
from esm_viz.figures.number_format import number, safe

SMALLEST, LARGEST = 6.0, 13.0  # px, marks of the first and of the last block
FAINT = 0.12  # opacity of layers of other families than the chosen one
BESIDE, BEYOND = 0.12, 0.22  # room for names at the sides, and above and below, relative to the farthest point

Place = tuple[float, float]


def subspace_map_figure(record: SubspaceMap, family: str = "", chosen: tuple[str, str] | None = None) -> Figure:
    """Draw one mark for each task and layer, with the same scale on both axes.

    Args:
        record: positions and stress.
        family: the highlighted family; all if empty.
        chosen: task and layer name of the selected point.
    """
    places = {
        (task, layer.name): point
        for task, row in zip(record.tasks, record.points, strict=True)
        for layer, point in zip(record.layers, row, strict=True)
        if not math.isnan(point[0])
    }
    reach = max((math.hypot(*point) for point in places.values()), default=0.0) or 1.0
    data = [_marks(record, at, places, family) for at in range(len(record.tasks))]
    if chosen in places:
        data.append(_ring(places[chosen]))
    bare: dict[str, Any] = {"tickvals": [], "showgrid": False, "showline": False}
    return picture(
        data,
        "Near points share directions with the same tasks. Each is one layer of a task; deeper layers are larger.",
        _says(record, places, chosen),
        names=("task", "layer"),
        layers=record.layers,
        margin={"l": 12, "r": 12, "t": 6, "b": 30},
        xaxis=axis(
            f"plane that distorts distances least, stress {number(record.stress)}",
            range=_ends([x for x, _ in places.values()], BESIDE * reach),
            **bare,
        ),
        yaxis=axis(range=_ends([y for _, y in places.values()], BEYOND * reach), scaleanchor="x", **bare),
        annotations=[_name(record, at, places) for at in range(len(record.tasks)) if _own(record, at, places)],
    )


def _own(record: SubspaceMap, at: int, places: dict[tuple[str, str], Place]) -> list[Place]:
    return [point for (task, _), point in places.items() if task == record.tasks[at]]


def _marks(record: SubspaceMap, at: int, places: dict[tuple[str, str], Place], family: str) -> dict[str, Any]:
    task = record.tasks[at]
    layers = [layer for layer in record.layers if (task, layer.name) in places]
    deepest = max((layer.block for layer in record.layers), default=0) or 1
    return {
        "type": "scatter",
        "mode": "markers",
        "name": safe(task),
        "x": [places[task, layer.name][0] for layer in layers],
        "y": [places[task, layer.name][1] for layer in layers],
        "marker": {
            "symbol": task_symbol(at),
            "color": task_colour(at),
            "size": [SMALLEST + (LARGEST - SMALLEST) * layer.block / deepest for layer in layers],
            "opacity": [1.0 if family in ("", layer.family) else FAINT for layer in layers],
            "line": {"width": 1, "color": token("panel")} if at < 8 else {"width": 2},
        },
        "text": [layer.label for layer in layers],
        "customdata": [[task, layer.name] for layer in layers],
        "hovertemplate": f"<b>{safe(task).replace('{', '&#123;')}, %{{text}}</b><extra></extra>",
        "meta": {"tasks": [task]},
    }


def _ring(point: Place) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [point[0]],
        "y": [point[1]],
        "hoverinfo": "skip",
        "marker": {"symbol": "circle-open", "size": 21, "color": token("accent"), "line": {"width": 3}},
    }


def _name(record: SubspaceMap, at: int, places: dict[tuple[str, str], Place]) -> dict[str, Any]:
    """Return a task's name as a label outside its outermost point."""
    x, y = max(_own(record, at, places), key=lambda point: math.hypot(*point))
    upright = abs(y) > abs(x)
    side = "center" if upright else "left" if x > 0 else "right"
    return note(
        x,
        y,
        f'<span style="color:{task_colour(at)}">{task_glyph(at)}</span> {safe(record.tasks[at])}',
        xanchor=side,
        yanchor=("bottom" if y > 0 else "top") if upright else "middle",
        xshift={"center": 0, "left": 10, "right": -10}[side],
        yshift=(8 if y > 0 else -8) if upright else 0,
        color=token("ink"),
        size=LABEL,
        name=record.tasks[at],
    )


def _ends(values: list[float], room: float) -> list[float]:
    return [min(values, default=0.0) - room, max(values, default=0.0) + room]


def _says(record: SubspaceMap, places: dict[tuple[str, str], Place], chosen: tuple[str, str] | None) -> str:
    said = f"{len(record.tasks)} tasks by {len(record.layers)} layers, stress {number(record.stress)}."
    labels = {layer.name: layer.label for layer in record.layers}
    return f"{said} Selected: {chosen[0]}, {labels[chosen[1]]}." if chosen and chosen in places else said
