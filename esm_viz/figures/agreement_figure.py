"""Agreement with the experts per task, on unlabelled proxies."""

from __future__ import annotations

import math
from typing import Any

from esm_viz.core.records import ExpertAgreement, TaskAgreement
from esm_viz.figures.accuracy_figure import marks_note
from esm_viz.figures.figure_parts import LABEL, Figure, axis, label_margin, note, picture, task_axis, task_colour, token
from esm_viz.figures.number_format import counted, number, percent, safe


def agreement_figure(record: ExpertAgreement, pinned: ExpertAgreement | None = None) -> Figure:
    """Draw one bar per task: the share of the expert's predictions, or where a task has no head the feature direction.

    Args:
        record: of the merge on screen, B.
        pinned: of the state A, to compare with.
    """
    headed = record.same is not None
    tasks, rows = [row.task for row in record.tasks], list(range(len(record.tasks)))
    values = [_value(row, headed) for row in record.tasks]
    bounds = [_bounds(row, headed) for row in record.tasks]
    least = min([0.0, *(value for value in values if not math.isnan(value))])
    data: list[dict[str, Any]] = [
        {
            "type": "bar",
            "orientation": "h",
            "x": [_known(value) for value in values],  # an expert that changed nothing
            "y": rows,
            "marker": {"color": [task_colour(at) for at in rows], "opacity": 0.92},
            "width": 0.6,
            "text": [_hover(row) for row in record.tasks],
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
            "customdata": tasks,
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [_known(high - value) for (_, high), value in zip(bounds, values, strict=True)],
                "arrayminus": [_known(value - low) for (low, _), value in zip(bounds, values, strict=True)],
                "color": token("ink"),
                "thickness": 2.5,
                "width": 0,
            },
        }
    ]
    if pinned is not None:
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [_known(_value(row, headed)) for row in pinned.tasks],
                "y": rows,
                "hoverinfo": "skip",
                "marker": {"symbol": "line-ns", "size": 8, "line": {"width": 3, "color": token("ink")}},
            }
        )
    images = counted(row.n for row in record.tasks)
    what = "predictions as the expert" if headed else "feature direction × 100"
    how = "Bar: predicts as the own expert" if headed else "Bar: direction of the features’ change"
    return picture(
        data,
        f"{how}, 95 % interval.{' Upright: A.' if pinned else ''}",
        record.sentence,
        (0, len(tasks) + 1),
        rows=tasks,
        shown=_shown(record, headed),
        table=_table(record),
        margin={"l": label_margin(tasks), "r": 48, "t": 20, "b": 44},
        xaxis=axis(
            f"{what}, {images} proxies a task{', %' if headed else ''}",
            range=[least, 102],
            tickvals=[0, 25, 50, 75, 100],
            fixedrange=True,
        ),
        yaxis=task_axis(tasks, above=0.75),
        annotations=[
            *([marks_note("A", expert=False)] if pinned is not None else []),
            *(
                note(
                    1.01, at, f"<b>{number(value, 0)}</b>", xref="paper", xanchor="left", color=token("ink"), size=LABEL
                )
                for at, value in enumerate(values)
            ),
        ],
        bargap=0.4,
    )


def _value(row: TaskAgreement, headed: bool) -> float:
    return 100 * (row.same.accuracy if headed and row.same else row.direction.value)


def _known(value: float) -> float | None:
    """Return a number for a picture, None where it is unknown."""
    return None if math.isnan(value) else value


def _bounds(row: TaskAgreement, headed: bool) -> tuple[float, float]:
    low, high = row.same.interval if headed and row.same else (row.direction.low, row.direction.high)
    return 100 * low, 100 * high


def _hover(row: TaskAgreement) -> str:
    lines = [f"<b>{safe(row.task)}</b>, {row.n} proxies"]
    if row.same is not None:
        low, high = row.same.interval
        share = f"{percent(row.same.accuracy, 1)} % ({percent(low, 1)} to {percent(high, 1)})"
        lines.append(f"predictions as the expert {share}")
    if row.divergence is not None:
        lines.append(f"KL(expert ‖ merged) {number(row.divergence.value, 3)}")
    return "<br>".join([*lines, f"feature direction {number(row.direction.value, 3)}"])


def _shown(record: ExpertAgreement, headed: bool) -> str:
    """Return a short sentence on the task that is least like its expert; empty if nothing is known."""
    known = [row for row in record.tasks if not math.isnan(_value(row, headed))]
    if not known:
        return ""
    least = min(known, key=lambda row: _value(row, headed))
    value = f"{_value(least, headed):.0f} %" if headed else f"{least.direction.value:.2f}"
    return f"Least like its expert: {least.task}, {value}."


def _table(record: ExpertAgreement) -> list[list[Any]]:
    lines: list[list[Any]] = [["task", "proxies", "as the expert, %", "from", "to", "KL", "feature direction"]]
    for row in record.tasks:
        shares = [100 * share for share in (row.same.accuracy, *row.same.interval)] if row.same else [None] * 3
        lines.append(
            [row.task, row.n, *shares, row.divergence.value if row.divergence else None, _known(row.direction.value)]
        )
    return lines
