"""Accuracy per task at an α between two measured ones, drawn while α is dragged: hatched bars without intervals."""

from __future__ import annotations

from typing import Any

from esm_viz.core.records import BetweenPoints, Evaluation
from esm_viz.figures.accuracy_figure import accuracy_axis, expert_marks, marks_note, reference_lines, references
from esm_viz.figures.figure_parts import LABEL, Figure, label_margin, note, picture, task_axis, task_colour, token
from esm_viz.figures.number_format import counted, percent, safe, short


def between_points_figure(record: BetweenPoints, pinned: Evaluation | None = None) -> Figure:
    """Draw one hatched bar per task, on the axis of `accuracy_figure`.

    Args:
        record: the α on screen, and the measurements beside it.
        pinned: accuracy of the state A, to compare with.
    """
    low, high = record.low, record.high
    tasks = [score.task for score in low.tasks]
    rows = list(range(len(tasks)))
    ends = f"α {short(low.alpha)} and {short(high.alpha)}"
    reference = references(low, pinned, base=False)
    data = [_bars(record, rows), *(reference_lines(reference, rows) if reference else []), expert_marks(low, rows)]
    return picture(
        data,
        f"Hatched: not measured at this α, but drawn between {ends}.",
        f"Mean about {percent(record.mean, 1)} %, on the straight line between the accuracies measured at {ends}.",
        (0, len(tasks) + 1),
        shown=f"Mean about {percent(record.mean, 1)} %.",
        rows=tasks,
        table=_table(record),
        margin={"l": label_margin(tasks), "r": 88 if pinned else 48, "t": 20, "b": 44},
        xaxis=accuracy_axis(counted(score.merged.n for score in low.tasks), low.split),
        yaxis=task_axis(tasks, above=0.75),
        annotations=[
            marks_note("A" if reference else ""),
            *(
                note(1.01, row, f"≈ {percent(share)}", xref="paper", xanchor="left", color=token("ink"), size=LABEL)
                for row, share in zip(rows, record.accuracy, strict=True)
            ),
        ],
        bargap=0.4,
    )


def _bars(record: BetweenPoints, rows: list[int]) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "x": [100 * share for share in record.accuracy],
        "y": rows,
        "marker": {
            "color": [task_colour(row) for row in rows],
            "pattern": {"shape": "/", "size": 6, "solidity": 0.3, "fillmode": "overlay", "fgcolor": token("panel")},
        },
        "width": 0.6,
        "text": [
            f"<b>{safe(low.task)}</b> about {percent(share, 1)} %<br>{percent(low.merged.accuracy, 1)} % at "
            f"α {short(record.low.alpha)}, {percent(high.merged.accuracy, 1)} % at α {short(record.high.alpha)}"
            for low, high, share in zip(record.low.tasks, record.high.tasks, record.accuracy, strict=True)
        ],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
        "customdata": [score.task for score in record.low.tasks],
    }


def _table(record: BetweenPoints) -> list[list[Any]]:
    """Return the numbers of the picture: accuracy between the two measured points, and those points."""
    low, high = (f"measured at α {short(point.alpha)}, %" for point in (record.low, record.high))
    lines: list[list[Any]] = [["task", "images", "accuracy, about, %", low, high]]
    for below, above, share in zip(record.low.tasks, record.high.tasks, record.accuracy, strict=True):
        values = (share, below.merged.accuracy, above.merged.accuracy)
        lines.append([below.task, below.merged.n, *(100 * value for value in values)])
    return lines
