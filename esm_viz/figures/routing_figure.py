"""The routing of ESM++: the share of images routed to their own task's adapter per layer, and all routes."""

from __future__ import annotations

from esm_viz.core.records import Routing
from esm_viz.figures.figure_parts import (
    LABEL,
    Columns,
    Figure,
    axis,
    cell_text,
    label_margin,
    note,
    picture,
    ramp,
    rows_of,
    task_axis,
    task_colour,
    task_glyph,
    token,
)
from esm_viz.figures.number_format import percent, safe

HOW = (
    "Stronger: more of the task's images went to its own low-rank adapter; by chance {chance} %. These adapters add "
    "{overhead} % to the parameters; all are {whole} % of {count} separate models."
)
WHERE = "Row: true task. Column: chosen low-rank adapter, % of images, {place}. A strong diagonal is right routing."

MOST_FLAT = 6  # horizontal names; more are written vertically


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
        layers=record.layers,
        margin={"l": label_margin(record.tasks), "r": 60, "t": 34, "b": 44},
        xaxis=columns.axis(),
        yaxis=task_axis(record.tasks),
        annotations=[*columns.titles(), *_means(record)],
    )


def routes_figure(record: Routing, at: int | None = None, chosen: tuple[str, str] | None = None) -> Figure:
    """Draw the share of each task's images routed to each adapter; always on [0, 1].

    Args:
        record: the routing of every task's images.
        at: index of a routed layer; None for the mean over all of them.
        chosen: task and adapter of the cell that gets a frame.
    """
    tasks, values = range(len(record.tasks)), record.mean_routes if at is None else record.routes[at]
    place = f"mean of {len(record.layers)} layers" if at is None else f"at {record.layers[at].label}"
    cells = [(t, s) for t in tasks for s in tasks]
    heat = {
        "type": "heatmap",
        "x": list(tasks),
        "y": list(tasks),
        "z": [list(row) for row in values],
        "text": [[_went(record, values, t, s) for s in tasks] for t in tasks],
        "customdata": [[[record.tasks[t], record.tasks[s], values[t][s]] for s in tasks] for t in tasks],
        "hovertemplate": "%{text}<extra></extra>",
        "zmin": 0,
        "zmax": 1,
        "colorscale": ramp("seq"),
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
    }
    texts = cell_text(
        [s for _, s in cells],
        [t for t, _ in cells],
        [percent(values[t][s]) for t, s in cells],
        [values[t][s] for t, s in cells],
        (len(tasks), len(tasks)),
    )
    upright = len(tasks) > MOST_FLAT  # a symbol on its side would be another one's: ▲ and ▼
    signs = ["" if upright else f'<span style="color:{task_colour(s)}">{task_glyph(s)}</span> ' for s in tasks]
    names = [f"{sign}{safe(task)}" for sign, task in zip(signs, record.tasks, strict=True)]
    return picture(
        [heat, texts],
        WHERE.format(place=place),
        _wrong_route(record, values, place),
        (len(tasks), len(tasks)),
        margin={
            "l": label_margin(record.tasks),
            "r": 8,
            "t": 6,
            "b": label_margin(record.tasks) if len(tasks) > MOST_FLAT else 30,
        },
        shapes=_frame(record, chosen),
        xaxis=axis(
            tickvals=list(tasks),
            ticktext=names,
            tickangle=-90 if upright else 0,
            showgrid=False,
            fixedrange=True,
        ),
        yaxis=task_axis(record.tasks),
    )


def _frame(record: Routing, chosen: tuple[str, str] | None) -> list[dict[str, object]]:
    """Return a frame round the cell of a task and an adapter, with a halo so that it is visible on any colour."""
    if chosen is None:
        return []
    y, x = (record.tasks.index(name) for name in chosen)
    box = {"type": "rect", "x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
    return [{**box, "line": {"color": token(name), "width": width}} for name, width in (("panel", 4), ("ink", 2))]


def _went(record: Routing, values: tuple[tuple[float, ...], ...], task: int, adapter: int) -> str:
    own = "its own adapter" if task == adapter else f"the adapter of {safe(record.tasks[adapter])}"
    return f"<b>{safe(record.tasks[task])}</b>, to {own}<br>{percent(values[task][adapter], 1)} % of its images"


def _wrong_route(record: Routing, values: tuple[tuple[float, ...], ...], place: str) -> str:
    """Return a sentence on the most frequent wrong route."""
    wrong = [(value, -t, -s) for t, row in enumerate(values) for s, value in enumerate(row) if t != s]
    if not wrong:
        return "One task, one adapter."
    value, task, adapter = max(wrong)
    names = record.tasks[-task], record.tasks[-adapter]
    return f"Most frequent wrong route, {place}: {percent(value)} % of {names[0]} go to the adapter of {names[1]}."


def _hover(record: Routing, task: int, index: int) -> str:
    found = percent(record.shares[task][index], 1)
    return (
        f"<b>{safe(record.tasks[task])}, {record.layers[index].label}</b><br>{found} % went to its own low-rank adapter"
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
