"""Accuracy, or agreement without labels, over α: a thin line a task, a dark line for the mean, a point a measured α."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from esm_viz.core.records import AlphaCurve, Estimate, Evaluation, ExpertAgreement, Score, TaskAgreement, TaskScores
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
from esm_viz.figures.number_format import counted, number, percent, safe, short

MOST_LABELS = 8  # tasks; with more, lines are grey and have their names only in the hover text
ROOM = 0.6  # of α, that the label of a line needs beside it
GAP = 8.0  # between two labels, in per cent of the axis' length


def curve_figure(record: AlphaCurve, now: float | None = None, pinned: float | None = None) -> Figure:
    """Draw accuracy, or agreement with the experts, per task and its mean over α.

    Args:
        record: measured on validation images or, without labels, on proxies.
        now: the α on screen, B; None if B is not on this curve.
        pinned: the α of A; None if A is not on this curve.
    """
    points = record.points
    tasks = [score.task for score in points[0].tasks] if points else []
    values = [[_task_value(row) for row in point.tasks] for point in points]
    scale = percent_ticks(min(map(min, values), default=0.0))
    alphas = [point.alpha for point in points]
    data = [_line(record, alphas, at, name, len(tasks) > MOST_LABELS) for at, name in enumerate(tasks)]
    notes: list[dict[str, Any]] = []
    if 0 < len(tasks) <= MOST_LABELS:
        ends = [(task_end(at, task), value) for at, (task, value) in enumerate(zip(tasks, values[-1], strict=True))]
        notes = end_labels([*ends, ("<b>mean</b>", _mean_value(points[-1]))], scale["range"])
    data.append(_mean(record, alphas))
    if record.best is not None:
        best = points[record.best]
        text = f"best {_best_words(best)}, α {short(best.alpha)}"
        notes.append(headed(best.alpha, (0.0, max([1.0, *alphas])), text))
    crossed = pinned is not None and now is not None and ROOM < pinned < now < pinned + ROOM  # B's line, A's label
    side = "left" if crossed else "right"
    marks = [marked(pinned, f"A {short(pinned)}", pinned=True, side=side)] if pinned is not None else []
    marks += [marked(now, f"B {short(now)}")] if now is not None else []
    images = counted(_count(row) for point in points for row in point.tasks)
    figure = picture(
        data,
        "Each line is one task. Click a point to use that α.",
        _says(record),
        margin={"l": 72, "r": 24 if len(tasks) > MOST_LABELS else 96, "t": 24, "b": 44},
        xaxis=axis("scale α", showgrid=False, range=[0, 1.02 * max([1.0, *alphas])]),
        yaxis=axis(_axis(points, images), **scale),
        shapes=[shape for mark in marks for shape in mark["shapes"]],
        annotations=notes + [label for mark in marks for label in mark["annotations"]],
        hovermode="closest",
    )
    rows = ([point.alpha, *_cells(row)] for point in points for row in point.tasks)
    names = ("KL", "direction") if points and isinstance(points[0], ExpertAgreement) else ()
    value = "share of the expert's predictions" if names else "accuracy"
    return with_table(figure, ["alpha", "task", "correct", "images", value, "low", "high", *names], rows)


def _task_value(row: TaskScores | TaskAgreement) -> float:
    """Return a task's value in per cent: accuracy, agreement or, without a head, 100 times the feature direction."""
    if isinstance(row, TaskScores):
        return 100 * row.merged.accuracy
    return 100 * (row.direction.value if row.same is None else row.same.accuracy)


def _mean_value(point: Evaluation | ExpertAgreement) -> float:
    if isinstance(point, Evaluation):
        return 100 * point.mean("merged")
    return 100 * (point.direction.value if point.same is None else point.same.accuracy)


def _best_words(best: Evaluation | ExpertAgreement) -> str:
    if isinstance(best, Evaluation):
        return f"mean {percent(best.mean('merged'), 1)} %"
    return f"direction {best.direction.value:.3f}" if best.divergence is None else f"KL {best.divergence.value:.3f}"


def _count(row: TaskScores | TaskAgreement) -> int:
    return row.merged.n if isinstance(row, TaskScores) else row.n


def _axis(points: Sequence[Evaluation | ExpertAgreement], images: str) -> str:
    """Return the name of the y axis: what is measured, and on which images."""
    first = points[0] if points else None
    if not isinstance(first, ExpertAgreement):
        return f"accuracy on {images}<br>validation images a task, %"
    if first.same is None:
        return f"feature direction on {images}<br>proxies a task, × 100"
    return f"agreement with the experts<br>on {images} proxies a task, %"


def _cells(row: TaskScores | TaskAgreement) -> list[Any]:
    """Return the cells of a task in the table of numbers, as fractions."""
    if isinstance(row, TaskScores):
        return [row.task, row.merged.correct, row.merged.n, row.merged.accuracy, *row.merged.interval]
    same = row.same
    shares = [same.correct, row.n, same.accuracy, *same.interval] if same else [None, row.n, None, None, None]
    return [row.task, *shares, row.divergence.value if row.divergence else None, row.direction.value]


def _line(record: AlphaCurve, alphas: list[float], at: int, name: str, grey: bool) -> dict[str, Any]:
    colour = token("line-strong") if grey else task_colour(at)
    scores = [point.tasks[at] for point in record.points]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": safe(name),
        "x": alphas,
        "y": [_task_value(score) for score in scores],
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
        "y": [_mean_value(point) for point in points],
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


def _hover(alpha: float, score: TaskScores | TaskAgreement) -> str:
    if isinstance(score, TaskAgreement):
        return f"<b>{safe(score.task)}, α {alpha:g}</b><br>{_agreement(score.same, score.divergence, score.direction)}"
    low, high = score.merged.interval
    interval = f"{percent(low, 1)} to {percent(high, 1)}"
    return (
        f"<b>{safe(score.task)}, α {alpha:g}</b><br>{percent(score.merged.accuracy)} % ({interval}) "
        f"of {score.merged.n}, expert {percent(score.finetuned.accuracy)}"
    )


def _agreement(same: Score | None, divergence: Estimate | None, direction: Estimate) -> str:
    """Return agreement, KL and direction as text, those that are known."""
    words = [f"{same.correct} of {same.n} predictions as the expert"] if same else []
    words += [f"KL {number(divergence.value, 3)}"] if divergence else []
    return ", ".join([*words, f"feature direction {number(direction.value, 3)}"])


def _hover_mean(point: Evaluation | ExpertAgreement) -> str:
    if isinstance(point, ExpertAgreement):
        return f"<b>mean, α {point.alpha:g}</b><br>{_agreement(point.same, point.divergence, point.direction)}"
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
    best, count = record.points[record.best], f"{len(record.points)} values of α"
    if isinstance(best, ExpertAgreement):
        kept = _agreement(best.same, best.divergence, best.direction)
        return f"{count}, measured on unlabelled proxies; best at α {short(best.alpha)}: {kept}."
    return f"{count}; best mean accuracy {percent(best.mean('merged'), 1)} % at α {short(best.alpha)}."
