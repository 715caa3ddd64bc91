"""Which images found the low-rank expert of their own task: one share a layer and task."""

from __future__ import annotations

from esm_viz.figures.base import (
    LABEL,
    Columns,
    Figure,
    cell_text,
    label_margin,
    note,
    picture,
    ramp,
    rows_of,
    task_axis,
    token,
)
from esm_viz.figures.words import percent, safe
from esm_viz.types import Routing

HOW = (
    "Stronger: more of the task's images went to its own low-rank expert; by chance {chance} %. These experts add "
    "{overhead} % to the parameters; all are {whole} % of {count} separate models."
)


def routing_figure(record: Routing) -> Figure:
    """Draw routing accuracy; the scale is always [0, 1], so that recipes can be compared."""
    columns, tasks = Columns.of(record.layers), range(len(record.tasks))
    cells = [(t, i) for t in tasks for i in range(len(record.layers))]
    grid = (len(record.layers) + 3, len(record.tasks))
    heat = [
        {
            "type": "heatmap",
            "x": [columns.places[i] for i in members],
            "y": list(tasks),
            "z": [[row[i] for i in members] for row in record.shares],
            "text": [[_hover(record, t, i) for i in members] for t in tasks],
            "customdata": rows_of(record.tasks, record.layers, record.shares, members),
            "hovertemplate": "%{text}<extra></extra>",
            "zmin": 0,
            "zmax": 1,
            "colorscale": ramp("seq"),
            "xgap": 2,
            "ygap": 2,
            "showscale": False,
        }
        for _, members in columns.families
    ]
    texts = cell_text(
        [columns.places[i] for _, i in cells],
        [t for t, _ in cells],
        [percent(record.shares[t][i]) for t, i in cells],
        [record.shares[t][i] for t, i in cells],
        grid,
    )
    return picture(
        [*heat, texts],
        HOW.format(
            chance=percent(1 / len(record.tasks)),
            overhead=percent(record.overhead),
            whole=percent(record.of_separate),
            count=len(record.tasks),
        ),
        _says(record),
        grid,
        rows=record.tasks,
        names=("task", "layer", "routing accuracy, share"),
        margin={"l": label_margin(record.tasks), "r": 60, "t": 34, "b": 44},
        xaxis=columns.axis(),
        yaxis=task_axis(record.tasks),
        annotations=[*columns.titles(), *_means(record)],
    )


def _hover(record: Routing, task: int, index: int) -> str:
    found = percent(record.shares[task][index], 1)
    return (
        f"<b>{safe(record.tasks[task])}, {record.layers[index].label}</b><br>{found} % went to its own low-rank expert"
    )


def _means(record: Routing) -> list[dict[str, object]]:
    """Return the mean of each row at its right end."""
    place = {"xref": "paper", "xanchor": "left"}
    return [note(1.01, 1, "mean", yref="paper", yanchor="bottom", **place)] + [
        note(1.01, at, f"<b>{percent(sum(row) / len(row))}</b>", color=token("ink"), size=LABEL, **place)
        for at, row in enumerate(record.shares)
    ]


def _says(record: Routing) -> str:
    means = (f"{task} {percent(sum(row) / len(row))}" for task, row in zip(record.tasks, record.shares, strict=True))
    return f"Routing accuracy {percent(record.mean, 1)} % over {len(record.layers)} layers: {', '.join(means)}."
