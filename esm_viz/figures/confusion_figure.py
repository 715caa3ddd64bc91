"""The confusion matrix of a task: rows are true classes, columns are predictions."""

from __future__ import annotations

import math

from esm_viz.core.records import Confusion
from esm_viz.figures.figure_parts import Figure, axis, cell_text, label_margin, picture, ramp
from esm_viz.figures.number_format import percent, safe

HOW = "Row: true class. Column: prediction. A strong diagonal is right."
MOST_NAMES = 26  # that fit the card; with more classes, the picture grows and scrolls inside it
COLUMN = 2.3  # width of a column with its name on its side, as a multiple of the least width
ROW = 0.4  # height of rows without numbers, as a share of the usual height


def confusion_figure(record: Confusion) -> Figure:
    """Draw shares of each true class, always on [0, 1], so that tasks and models can be compared."""
    count = len(record.classes)
    cells = [(row, column) for row in range(count) for column in range(count)]
    shares = [[_share(record, row, column) for column in range(count)] for row in range(count)]
    heat = {
        "type": "heatmap",
        "x": list(range(count)),
        "y": list(range(count)),
        "z": shares,
        "text": [[_hover(record, row, column) for column in range(count)] for row in range(count)],
        "customdata": [
            [[record.classes[row], record.classes[column], record.counts[row][column]] for column in range(count)]
            for row in range(count)
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "zmin": 0,
        "zmax": 1,
        "colorscale": ramp("seq"),
        "xgap": 2 if count <= MOST_NAMES else 1,
        "ygap": 2 if count <= MOST_NAMES else 1,
        "showscale": False,
    }
    filled = [(row, column) for row, column in cells if record.counts[row][column]]
    texts = cell_text(
        [column for _, column in filled],
        [row for row, _ in filled],
        [str(record.counts[row][column]) for row, column in filled],
        [shares[row][column] for row, column in filled],
        (count, count),
    )
    margin = label_margin(record.classes)
    return picture(
        [heat, texts],
        _how(record),
        _says(record),
        (count, math.ceil(ROW * count)) if count <= MOST_NAMES else (math.ceil(COLUMN * count), count),
        margin={"l": margin, "r": 8, "t": 6, "b": max(margin - 12, 56)},
        xaxis=_names(record.classes, "prediction", tickangle=-90 if count > 5 else 0, range=[-0.5, count - 0.5]),
        yaxis=_names(record.classes, "", range=[count - 0.5, -0.5]),
    )


def _names(classes: tuple[str, ...], title: str, **more: object) -> dict[str, object]:
    names = [safe(_cut(name)) for name in classes]
    return axis(title, tickvals=list(range(len(classes))), ticktext=names, showgrid=False, fixedrange=True, **more)


def _cut(name: str) -> str:
    return name if len(name) <= 16 else name[:15] + "…"


def _share(record: Confusion, row: int, column: int) -> float:
    return record.counts[row][column] / record.totals[row] if record.totals[row] else 0.0


def _hover(record: Confusion, row: int, column: int) -> str:
    true, prediction = safe(record.classes[row]), safe(record.classes[column])
    head = f"<b>{true}</b>, predicted right" if row == column else f"<b>{true}</b>, predicted as {prediction}"
    share = percent(_share(record, row, column))
    return f"{head}<br>{record.counts[row][column]} of {record.totals[row]} images ({share} %)"


def _how(record: Confusion) -> str:
    shown = len(record.classes)
    less = "" if shown == record.known else f" The {shown} of {record.known} classes with most mistakes."
    return f"{HOW} {record.n} {record.split} images, {percent(record.correct / record.n, 1)} % right.{less}"


def _says(record: Confusion) -> str:
    worst = record.worst
    if worst is None:
        return f"No mistakes on {record.task}."
    row, column, count = worst
    mistake = f"{record.classes[row]} is predicted as {record.classes[column]}"
    return f"{record.task}: most often {mistake}, on {count} of {record.totals[row]} images."
