"""Accuracy per task with its interval, against a pinned state and the task's own expert."""

from __future__ import annotations

import math
from typing import Any

from esm_viz.core.records import Difference, Evaluation, Paired, Score, TaskScores
from esm_viz.figures.figure_parts import LABEL, Figure, axis, label_margin, note, picture, task_axis, task_colour, token
from esm_viz.figures.number_format import counted, percent, safe


def accuracy_figure(
    record: Evaluation,
    pinned: Evaluation | None = None,
    base: bool = False,
    difference: Difference | None = None,
    in_all: str = "",
) -> Figure:
    """Draw one bar per task, always from 0 to 100 %.

    Args:
        record: accuracy of the merge on screen, B.
        pinned: accuracy of the state A, to compare with.
        base: whether to draw the pre-trained model as a line in place of A.
        difference: paired comparison of B with A or with the pre-trained model; without it, no differences are written.
        in_all: images per task of the whole split, if only some are measured yet; the bars are faint then.
    """
    tasks = [score.task for score in record.tasks]
    rows = list(range(len(tasks)))
    merged = [100 * score.merged.accuracy for score in record.tasks]
    data = [_bars(record, merged, rows, bool(in_all)), *_intervals(record, merged, rows)]
    reference = references(record, pinned, base)
    if reference:
        data += reference_lines(reference, rows)
    data.append(expert_marks(record, rows))
    images = counted(score.merged.n for score in record.tasks) + (f" of {in_all}" if in_all else "")
    label = "A" if pinned else "pre-trained"
    return picture(
        data,
        _how(pinned, base),
        _says(record),
        (0, len(tasks) + 1),
        shown=_farthest(record),
        rows=tasks,
        table=_table(record, reference, label),
        margin={"l": label_margin(tasks), "r": 88 if pinned or base else 48, "t": 20, "b": 44},
        xaxis=accuracy_axis(images, record.split),
        yaxis=task_axis(tasks, above=0.75),
        annotations=[*_labels(record, difference, rows), marks_note(label if reference else ""), *_heads(difference)],
        bargap=0.4,
    )


def accuracy_axis(images: str, split: str) -> dict[str, Any]:
    """Return the x axis of accuracy in per cent, always from 0 to 100, with the images that it was measured on."""
    ticks = [0, 25, 50, 75, 100]
    return axis(f"accuracy on {images} {split} images a task, %", range=[0, 102], tickvals=ticks, fixedrange=True)


def references(record: Evaluation, pinned: Evaluation | None, base: bool) -> list[Score | None]:
    """Return what each bar is compared with, task by task."""
    if pinned:
        known = {score.task: score.merged for score in pinned.tasks}
        return [known.get(score.task) for score in record.tasks]
    return [score.pretrained for score in record.tasks] if base else []


def _bars(record: Evaluation, merged: list[float], rows: list[int], partial: bool) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "x": merged,
        "y": rows,
        "marker": {"color": [task_colour(i) for i in rows], "opacity": 0.45 if partial else 0.92},
        "width": 0.6,
        "text": [_hover(score) for score in record.tasks],
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
        "customdata": [score.task for score in record.tasks],
    }


def _intervals(record: Evaluation, merged: list[float], rows: list[int]) -> list[dict[str, Any]]:
    """Return the intervals as two traces: a halo in the panel's colour and a line on it."""
    bounds = [score.merged.interval for score in record.tasks]
    errors = {
        "type": "data",
        "symmetric": False,
        "array": [100 * high - value for (_, high), value in zip(bounds, merged, strict=True)],
        "arrayminus": [value - 100 * low for (low, _), value in zip(bounds, merged, strict=True)],
    }
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": merged,
            "y": rows,
            "hoverinfo": "skip",
            "marker": {"size": 1, "color": colour},
            "error_x": {**errors, "color": colour, "thickness": thick, "width": cap},
        }
        for colour, thick, cap in ((token("panel"), 5.5, 0), (token("ink"), 2.5, 0))
    ]


def reference_lines(reference: list[Score | None], rows: list[int]) -> list[dict[str, Any]]:
    """Return the upright marks of what B is compared with, taller than a bar."""
    xs = [100 * score.accuracy if score else None for score in reference]
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": xs,
            "y": rows,
            "hoverinfo": "skip",
            "marker": {"symbol": "line-ns", "size": 8, "line": {"width": width, "color": colour}},
        }
        for width, colour in ((6, token("panel")), (3, token("ink")))
    ]


def expert_marks(record: Evaluation, rows: list[int]) -> dict[str, Any]:
    """Return the diamonds at the experts' own accuracies."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * score.finetuned.accuracy for score in record.tasks],
        "y": rows,
        "hoverinfo": "skip",
        "marker": {
            "symbol": "diamond",
            "size": 10,
            "color": token("panel"),
            "line": {"width": 2, "color": token("ink-2")},
        },
    }


def _hover(score: TaskScores) -> str:
    low, high = score.merged.interval
    head = f"<b>{safe(score.task)}</b> {percent(score.merged.accuracy, 1)} % ({percent(low, 1)} to {percent(high, 1)})"
    others = f"expert {percent(score.finetuned.accuracy)}, pre-trained {percent(score.pretrained.accuracy)}"
    return f"{head}<br>{others}, {score.merged.n} images"


def _difference(pair: Paired | None) -> str:
    """Return the difference of B and its reference as text, in grey if the paired interval contains 0."""
    if pair is None or not pair.n:
        return ""
    points = round(100 * pair.difference)
    text = f"+{points}" if points > 0 else f"−{-points}" if points < 0 else "0"
    if not pair.told:
        return f'  <span style="color:{token("ink-3")}">≈ {text}</span>'
    colour, sign = ("good", "▲") if pair.difference > 0 else ("bad", "▼")
    return f'  <span style="color:{token(colour)}">{sign} {text}</span>'


def _labels(record: Evaluation, difference: Difference | None, rows: list[int]) -> list[dict[str, Any]]:
    pairs = dict(zip(difference.tasks, difference.pairs, strict=True)) if difference else {}
    return [
        note(
            1.01,
            row,
            f"<b>{percent(score.merged.accuracy)}</b>{_difference(pairs.get(score.task))}",
            xref="paper",
            xanchor="left",
            color=token("ink"),
            size=LABEL,
        )
        for row, score in zip(rows, record.tasks, strict=True)
    ]


def marks_note(compared: str, expert: bool = True) -> dict[str, Any]:
    """Return the key of the marks, above the plot at its right end; `compared` is what upright marks are, or ""."""
    marks = [*([f"<b>|</b> {compared}"] if compared else []), *(["◇ expert"] if expert else [])]
    return note(1, 1, "    ".join(marks), xref="paper", yref="paper", xanchor="right", yanchor="bottom", yshift=-3)


def _heads(difference: Difference | None) -> list[dict[str, Any]]:
    """Return the head of the numbers at the right: per cent, and points where differences are written."""
    text = "%    points" if difference else "%"
    return [note(1.01, 1, text, xref="paper", yref="paper", xanchor="left", yanchor="bottom", yshift=-3)]


def _table(record: Evaluation, reference: list[Score | None], label: str) -> list[list[Any]]:
    """Return the numbers of the picture: accuracy with its interval, what it is compared with, and the expert."""
    head = ["task", "images", "accuracy, %", "from", "to", *([f"{label}, %"] if reference else []), "own expert, %"]
    lines: list[list[Any]] = [head]
    for at, score in enumerate(record.tasks):
        compared = [reference[at]] if reference else []
        shares = (
            *(score.merged.accuracy, *score.merged.interval),
            *(other.accuracy if other else math.nan for other in compared),
            score.finetuned.accuracy,
        )
        numbers = [None if math.isnan(share) else 100 * share for share in shares]
        lines.append([score.task, score.merged.n, *numbers])
    return lines


def _how(pinned: Evaluation | None, base: bool) -> str:
    line = "Upright: A. " if pinned else "Upright line: pre-trained. " if base else ""
    return f"Bar: {'this merge' if base else 'B'} and its 95 % interval. {line}Diamond: own expert."


def _farthest(record: Evaluation) -> str:
    """Say which task is farthest below its own expert."""
    if not record.tasks:
        return ""
    worst = max(record.tasks, key=lambda score: score.finetuned.accuracy - score.merged.accuracy)
    own, merged = percent(worst.finetuned.accuracy), percent(worst.merged.accuracy)
    return f"Farthest from its expert: {worst.task}, {merged} % against {own} %."


def _says(record: Evaluation) -> str:
    parts = ", ".join(f"{score.task} {percent(score.merged.accuracy)} %" for score in record.tasks)
    return f"Mean {percent(record.mean('merged'), 1)} %: {parts}." if record.tasks else "No labelled images."
