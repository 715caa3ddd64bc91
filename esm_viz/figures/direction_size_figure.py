"""Direction or size of a merge beside each task's own change, per task and layer, as a heat map."""

from __future__ import annotations

import math
from typing import Any, Literal

from esm_viz.core.records import Interference
from esm_viz.figures.figure_parts import (
    LABEL,
    Columns,
    Figure,
    colour_bar,
    label_margin,
    note,
    picture,
    ramp,
    rows_of,
    task_axis,
    token,
)
from esm_viz.figures.number_format import number, safe

Shown = Literal["direction", "size"]
OCTAVES = 3.0  # of the size's scale: the colours end at 1/8 and 8 times the task's own
TINY = 1e-6
HOW: dict[Shown, str] = {
    "direction": "1: the merge points the task’s own way. 0: across it. −1: against it. No scale α changes this.",
    "size": "1: as large as the task’s own change. Above 1 the merge overshoots it, below 1 it falls short.",
}


def direction_size_figure(record: Interference, shown: Shown) -> Figure:
    """Draw the direction c in [−1, 1], or the size s on a log scale around 1, with each task's mean at the right.

    Args:
        record: of the merge on screen; interference is 1 − 2 s c + s².
        shown: which of the two.
    """
    columns, values = Columns.of(record.layers), record.directions if shown == "direction" else record.sizes
    reach = 1.0 if shown == "direction" else OCTAVES
    scale = ramp("div")
    if shown == "size":  # blue is larger nowhere else: here orange overshoots
        scale = [[1 - place, colour] for place, colour in reversed(scale)]
    bar = (
        colour_bar("direction c", [-1, 0, 1], ["−1", "0", "1"])
        if shown == "direction"
        else colour_bar("size s", [-OCTAVES, 0, OCTAVES], ["⅛", "1", "8"])
    )
    data: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            "x": [columns.places[at] for at in members],
            "y": list(range(len(record.tasks))),
            "z": [[_level(row[at], shown) for at in members] for row in values],
            "text": [[_hover(record, task, at) for at in members] for task in range(len(record.tasks))],
            "customdata": rows_of(record.tasks, record.layers, values, members),
            "hovertemplate": "%{text}<extra></extra>",
            "hoverongaps": False,
            "zmin": -reach,
            "zmax": reach,
            "colorscale": scale,
            "xgap": 1,
            "ygap": 2,
            "showscale": False,
        }
        for _, members in columns.families
    ]
    data[-1] |= {"showscale": True, "colorbar": bar | {"xref": "container", "x": 1, "xanchor": "right"}}
    means = [_mean(row) for row in values]
    blocks = columns.axis(most=3)
    return picture(
        data,
        HOW[shown],
        _says(record, means, shown),
        (len(record.layers) + 3, len(record.tasks)),
        rows=record.tasks,
        names=("task", "layer", shown),
        margin={"l": label_margin(record.tasks), "r": 110, "t": 34, "b": 44},
        xaxis={**blocks, "title": {**blocks["title"], "text": "block, input → output"}},
        yaxis=task_axis(record.tasks),
        annotations=[
            *columns.titles(),
            note(1.012, 1, "mean", xref="paper", yref="paper", xanchor="left", yanchor="bottom"),
            *(
                note(1.012, at, f"<b>{number(mean)}</b>", xref="paper", xanchor="left", color=token("ink"), size=LABEL)
                for at, mean in enumerate(means)
            ),
        ],
    )


def _level(value: float, shown: Shown) -> float | None:
    if math.isnan(value):
        return None
    return value if shown == "direction" else math.log2(max(value, TINY))


def _hover(record: Interference, task: int, at: int) -> str:
    text = f"<b>{safe(record.tasks[task])}, {record.layers[at].label}</b><br>"
    turned, sized = record.directions[task][at], record.sizes[task][at]
    if math.isnan(sized):
        return f"{text}this expert did not change here"
    return f"{text}direction {number(turned)}, size {number(sized)}, interference {number(record.values[task][at])}"


def _mean(row: tuple[float, ...]) -> float:
    known = [value for value in row if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _says(record: Interference, means: list[float], shown: Shown) -> str:
    each = ", ".join(f"{task} {number(mean)}" for task, mean in zip(record.tasks, means, strict=True))
    known = [mean for mean in means if not math.isnan(mean)]
    mean = number(sum(known) / len(known)) if known else "unknown"
    if shown == "direction":
        return f"The merge points the tasks’ own way by {mean} in the mean over layers (1 is exactly): {each}."
    return f"The merge is {mean} times as large as the tasks’ own changes in the mean over layers: {each}."
