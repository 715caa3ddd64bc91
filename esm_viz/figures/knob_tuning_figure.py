"""The search over several knobs: every trial, and the best of them so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from esm_viz.core.records import KnobSearch, Objective
from esm_viz.figures.figure_parts import LABEL, Figure, axis, note, percent_ticks, picture, token, with_table
from esm_viz.figures.interference_figure import TINY
from esm_viz.figures.number_format import number, percent, safe, setting

BELOW = 10  # per cent below the start that the y axis shows; lower trials are drawn as triangles


_VALUES: dict[Objective, str] = {
    "normalised": "share of the experts' validation accuracy",
    "divergence": "KL(expert ‖ merged)",
    "direction": "feature direction",
}


def tuning_figure(record: KnobSearch, now: int | None = None, labels: Mapping[str, str] | None = None) -> Figure:
    """Draw each trial as a point and the best so far as a line; the first trial is the recipe itself.

    Args:
        record: the search with its trials so far.
        now: index of the trial on screen, B.
        labels: labels of knobs as HTML; their names in the recipe if missing.
    """
    scored = record.objective == "normalised"
    numbers = list(range(1, len(record.trials) + 1))
    heights = [_height(record, trial.value) for trial in record.trials]
    line = [_height(record, value) for value in record.best_so_far]
    best = record.best
    falls = record.objective == "divergence"  # KL is drawn as it is, on a logarithmic axis: lower is better
    ticks: dict[str, Any] = percent_ticks(line[0] - BELOW) if scored else {"type": "log"} if falls else {}
    floor: float = ticks["range"][0] if scored else -math.inf
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "best so far",
            "x": numbers,
            "y": line,
            "line": {"color": token("ink"), "width": 3, "shape": "hv"},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "trial",
            "x": numbers,
            "y": [None if math.isnan(height) else max(height, floor) for height in heights],
            "marker": {
                "size": [13 if at in (best, now) else 9 for at in range(len(numbers))],
                "opacity": 1,
                "color": [_colour(at, best, now) for at in range(len(numbers))],
                "symbol": ["triangle-down" if height < floor else "circle" for height in heights],
            },
            "text": [_hover(record, at, labels or {}) for at in range(len(numbers))],
            "cliponaxis": False,
            "customdata": list(range(len(numbers))),
            "hovertemplate": "%{text}<extra></extra>",
        },
    ]
    figure = picture(
        data,
        "Each point is one trial, the line the best so far. Click a point to use it."
        + (" Triangles lie lower." if scored else "")
        + (" Blue: B." if now is not None else ""),
        _says(record),
        margin={"l": 72, "r": 16, "t": 10, "b": 44},
        xaxis=axis("trial", showgrid=False, range=[0.4, len(numbers) + 0.6]),
        yaxis=axis(_axis(record), **ticks),
        annotations=[
            note(
                best + 1,
                math.log10(line[-1]) if falls else line[-1],  # plotly places notes on a log axis by the logarithm
                f"<b>best, trial {best + 1}</b>",
                xanchor="right" if best > len(numbers) / 2 else "left",
                yanchor="top" if falls else "bottom",
                yshift=-6 if falls else 6,
                color=token("ink"),
                size=LABEL,
            )
        ],
    )
    names = list(dict.fromkeys((*record.knobs, "alpha")))
    rows = (
        [at, *(trial.parameters[name] for name in names), None if math.isnan(trial.value) else abs(trial.value)]
        for at, trial in enumerate(record.trials, 1)
    )
    value = f"mean {_VALUES[record.objective]}"
    return with_table(figure, ["trial", *names, value], rows)


def _height(record: KnobSearch, value: float) -> float:
    """Return the y value: the share of the experts' accuracy in per cent, KL, or the feature direction."""
    if record.objective == "divergence":
        return max(-value, TINY)  # the axis is logarithmic
    return 100 * value if record.objective == "normalised" else value


def _axis(record: KnobSearch) -> str:
    if record.objective == "normalised":
        return f"% of experts, {record.images}<br>validation images"
    return f"{_VALUES[record.objective]}<br>on {record.images} proxies"


def _colour(at: int, best: int, now: int | None) -> str:
    return token("accent" if at == now else "ink" if at == best else "ink-3")


def _hover(record: KnobSearch, at: int, labels: Mapping[str, str]) -> str:
    trial = record.trials[at]
    value = f"{percent(trial.value, 1)} % of the experts"
    if record.objective != "normalised":
        value = f"{_VALUES[record.objective]} {number(abs(trial.value), 3)}"
    if math.isnan(trial.value):
        value = "the merge fails"
    names = dict.fromkeys((*record.knobs, "alpha"))
    knobs = [f"{labels.get(name, safe(name))} {setting(trial.parameters[name])}" for name in names]
    return "<br>".join([f"<b>trial {at + 1}</b>, {value}", *knobs])


def _says(record: KnobSearch) -> str:
    start, best = (_height(record, record.trials[at].value) for at in (0, record.best))
    how, unit = (1, " % of the experts") if record.objective == "normalised" else (3, "")
    what = f"validation accuracy on {record.images} images"
    if record.objective != "normalised":
        what = f"{_VALUES[record.objective]} on {record.images} unlabelled proxies"
    return (
        f"{len(record.trials)} trials judged by {what}: best {number(best, how)}{unit} in trial {record.best + 1}, "
        f"{number(start, how)}{unit} at the start."
    )
