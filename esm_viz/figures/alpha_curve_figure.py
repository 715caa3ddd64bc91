"""Accuracy over α: a thin line for each task and a dark line for the mean; each point is a measured α."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from esm_viz.core.records import AlphaCurve, Evaluation, TaskScores
from esm_viz.figures.figure_parts import (
    Figure,
    axis,
    headed,
    marked,
    note,
    percent_ticks,
    picture,
    spread_out,
    task_colour,
    task_glyph,
    task_symbol,
    token,
    with_table,
)
from esm_viz.figures.number_format import counted, percent, safe, short

MOST_LABELS = 8  # tasks; with more, lines are grey and have their names only in the hover text
GAP = 8.0  # between two labels, in per cent of the axis' length


def curve_figure(record: AlphaCurve, now: float | None = None, pinned: float | None = None) -> Figure:
    """Draw accuracy per task and its mean over α.

    Args:
        record: measured on validation images.
        now: the α on screen, B; None if B is not on this curve.
        pinned: the α of A; None if A is not on this curve.
    """
    points = record.points
    tasks = [score.task for score in points[0].tasks] if points else []
    values = [[100 * score.merged.accuracy for score in point.tasks] for point in points]
    scale = percent_ticks(min(map(min, values), default=0.0))
    alphas = [point.alpha for point in points]
    data = [_line(record, alphas, at, name, len(tasks) > MOST_LABELS) for at, name in enumerate(tasks)]
    notes: list[dict[str, Any]] = []
    if 0 < len(tasks) <= MOST_LABELS:
        ends = [(task_end(at, task), value) for at, (task, value) in enumerate(zip(tasks, values[-1], strict=True))]
        notes = end_labels([*ends, ("<b>mean</b>", 100 * points[-1].mean("merged"))], scale["range"])
    data.append(_mean(record, alphas))
    if record.best is not None:
        best = points[record.best]
        text = f"best mean {percent(best.mean('merged'), 1)} %, α {short(best.alpha)}"
        notes.append(headed(best.alpha, (0.0, max([1.0, *alphas])), text))
    marks = [marked(pinned, f"A, α {short(pinned)}", pinned=True)] if pinned is not None else []
    marks += [marked(now, f"B, α {short(now)}")] if now is not None else []
    images = counted(score.merged.n for point in points for score in point.tasks)
    figure = picture(
        data,
        "Each line is one task. Click a point to use that α.",
        _says(record),
        margin={"l": 72, "r": 24 if len(tasks) > MOST_LABELS else 96, "t": 24, "b": 44},
        xaxis=axis("scale α", showgrid=False, range=[0, 1.02 * max([1.0, *alphas])]),
        yaxis=axis(f"accuracy on {images}<br>validation images a task, %", **scale),
        shapes=[shape for mark in marks for shape in mark["shapes"]],
        annotations=notes + [label for mark in marks for label in mark["annotations"]],
        hovermode="closest",
    )
    rows = (
        [point.alpha, score.task, score.merged.correct, score.merged.n, score.merged.accuracy, *score.merged.interval]
        for point in points
        for score in point.tasks
    )
    return with_table(figure, ["alpha", "task", "correct", "images", "accuracy", "low", "high"], rows)


def _line(record: AlphaCurve, alphas: list[float], at: int, name: str, grey: bool) -> dict[str, Any]:
    colour = token("line-strong") if grey else task_colour(at)
    scores = [point.tasks[at] for point in record.points]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": safe(name),
        "x": alphas,
        "y": [100 * score.merged.accuracy for score in scores],
        "line": {"color": colour, "width": 1.5},
        "marker": {"size": 6, "color": colour, "symbol": task_symbol(at)},
        "text": [_hover(alpha, score) for alpha, score in zip(alphas, scores, strict=True)],
        "customdata": alphas,
        "hovertemplate": "%{text}<extra></extra>",
    }


def _mean(record: AlphaCurve, alphas: list[float]) -> dict[str, Any]:
    points = record.points
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "mean",
        "x": alphas,
        "y": [100 * point.mean("merged") for point in points],
        "line": {"color": token("ink"), "width": 3.5},
        "marker": {
            "size": [13 if at == record.best else 8 for at in range(len(points))],
            "color": token("ink"),
            "opacity": 1,
            "line": {"width": 1.5, "color": token("panel")},
        },
        "text": [_hover_mean(point) for point in points],
        "customdata": alphas,
        "hovertemplate": "%{text}<extra></extra>",
    }


def _hover(alpha: float, score: TaskScores) -> str:
    low, high = score.merged.interval
    interval = f"{percent(low, 1)} to {percent(high, 1)}"
    return (
        f"<b>{safe(score.task)}, α {alpha:g}</b><br>{percent(score.merged.accuracy)} % ({interval}) "
        f"of {score.merged.n}, expert {percent(score.finetuned.accuracy)}"
    )


def _hover_mean(point: Evaluation) -> str:
    low, high = point.mean_interval("merged")
    return (
        f"<b>mean, α {point.alpha:g}</b><br>{percent(point.mean('merged'), 1)} % "
        f"({percent(low, 1)} to {percent(high, 1)}), {percent(point.mean_normalised, 1)} % of the experts"
    )


def task_end(at: int, task: str) -> str:
    """Return the label at the end of a task's line: its symbol and name."""
    return f'<span style="color:{task_colour(at)}">{task_glyph(at)}</span> {safe(task)}'


def end_labels(ends: Sequence[tuple[str, float]], reach: Sequence[float]) -> list[dict[str, Any]]:
    """Return the labels at the right ends of lines, spread so that none covers another.

    Args:
        ends: HTML and y value of each label.
        reach: range of the y axis.
    """
    edge = (reach[1] - reach[0]) / 100  # plotly leaves out a label that rounding puts outside the axis
    low, high = reach[0] + edge, reach[1] - edge
    gap = min(GAP * (high - low) / 100, (high - low) / len(ends))
    heights = spread_out([low if math.isnan(value) else value for _, value in ends], gap, low, high)
    return [
        note(1.0, height, name, xref="paper", xanchor="left", xshift=6, color=token("ink"))
        for (name, _), height in zip(ends, heights, strict=True)
    ]


def _says(record: AlphaCurve) -> str:
    if record.best is None:
        return "No α was measured yet."
    best = record.points[record.best]
    mean = percent(best.mean("merged"), 1)
    return f"{len(record.points)} values of α; best mean accuracy {mean} % at α {best.alpha:g}."
