"""The size of the merged change per layer, before and after the inter-layer level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from esm_viz.core.records import Layer, LayerMap, LayerNorms
from esm_viz.figures.figure_parts import Columns, Figure, axis, note, picture, token
from esm_viz.figures.number_format import number

LINE = 18  # px between two names


def norms_figure(record: LayerNorms, top: float = 0.0, own: LayerMap | None = None, larger: str = "") -> Figure:
    """Draw both profiles over the range of the experts' own sizes, family by family.

    Args:
        record: norms before and after.
        top: least upper end of the y axis, so that the scale does not change while a slider moves.
        own: the map "norm" of the experts; without it their sizes are not drawn.
        larger: a sentence on why a merge is larger than its experts, told where it is.
    """
    columns = Columns.of(record.layers)
    sizes = [[row[i] for row in own.values] for i in range(len(record.layers))] if own else []
    highest = max([*record.before, *record.after, *(max(size) for size in sizes), top, 1e-9])
    high, step = nice_top(highest)
    level = record.before == record.after
    styles: list[tuple[str, tuple[float, ...], dict[str, Any], dict[str, Any]]] = [
        (
            "before",
            record.before,
            {"color": token("ref"), "width": 2.5, "dash": "dash"},
            {"size": 7, "color": token("panel"), "line": {"color": token("ref"), "width": 2}},
        ),
        ("after", record.after, {"color": token("ink"), "width": 3}, {"size": 8, "color": token("ink")}),
    ]
    if level:
        styles = styles[1:]
    data = [_range_of_experts(columns, members, sizes) for _, members in columns.families] if sizes else []
    data += [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": [columns.places[i] for i in members],
            "y": [values[i] for i in members],
            "line": line,
            "marker": marker,
            "text": [_hover(record.layers[i], name, values[i], sizes[i] if sizes else []) for i in members],
            "hovertemplate": "%{text}<extra></extra>",
        }
        for name, values, line, marker in styles
        for _, members in columns.families
    ]
    ends = []
    if columns.families:
        last = columns.families[-1][1][-1]
        ends = [("<b>merge</b>" if level else "<b>after</b>", record.after[last])]
        ends += [] if level else [("before", record.before[last])]
        ends += [("experts", min(sizes[last]))] if sizes else []
    merge = "Black: the merge, before α." if level else "Dashed: before layer power. Black: after it."
    how = f"‖ΔW‖ is the Frobenius norm of a layer's merged change, before α. {merge}"
    experts = ["smallest expert", "largest expert"] if own else []
    return picture(
        data,
        f"{how} Grey: smallest to largest expert." if own else how,
        _says(record, sizes, larger),
        table=[["layer", "‖ΔW‖ before", "‖ΔW‖ after", *experts]]
        + [
            [layer.label, before, after, *([min(sizes[at]), max(sizes[at])] if sizes else [])]
            for at, (layer, before, after) in enumerate(zip(record.layers, record.before, record.after, strict=True))
        ],
        margin={"l": 56, "r": 68, "t": 22, "b": 24},
        xaxis=columns.axis(most=3) | {"title": {"text": ""}},
        yaxis=axis(
            "‖ΔW‖", range=[0, high * 1.04], tickvals=[i * step for i in range(math.floor(high / step + 1e-9) + 1)]
        ),
        annotations=[*columns.titles(), *_end_labels(ends), _block_note()],
    )


def _range_of_experts(columns: Columns, members: Sequence[int], sizes: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return the band between the smallest and the largest expert of one family."""
    places = [columns.places[i] for i in members]
    return {
        "type": "scatter",
        "mode": "lines",
        "hoverinfo": "skip",
        "x": [*places, *places[::-1]],
        "y": [*(max(sizes[i]) for i in members), *(min(sizes[i]) for i in members[::-1])],
        "fill": "toself",
        "fillcolor": token("line"),
        "line": {"color": token("line-strong"), "width": 1},
    }


def _end_labels(ends: list[tuple[str, float]]) -> list[dict[str, Any]]:
    """Return the names of the lines at the right, from the highest line down."""
    order = sorted(ends, key=lambda end: -end[1])
    return [
        note(
            1.0,
            0.5,
            name,
            xref="paper",
            yref="paper",
            xanchor="left",
            xshift=6,
            yshift=LINE * (len(ends) / 2 - at - 0.5),
        )
        for at, (name, _) in enumerate(order)
    ]


def _hover(layer: Layer, name: str, value: float, sizes: Sequence[float]) -> str:
    words = f"<b>{layer.label}</b><br>‖ΔW‖ {name} {value:.3g}"
    return f"{words}<br>experts {min(sizes):.3g} to {max(sizes):.3g}" if sizes else words


def _block_note() -> dict[str, Any]:
    """Return the name of the x axis, at the left of its numbers: a line below them would take its height."""
    return note(0, 0, "block", xref="paper", yref="paper", xanchor="right", yanchor="top", xshift=-4, yshift=-4)


def _says(record: LayerNorms, sizes: Sequence[Sequence[float]], larger: str) -> str:
    if not record.after:
        return "No layers."
    at = max(range(len(record.after)), key=lambda i: record.after[i])
    words = f"‖ΔW‖: Frobenius norm before α. Largest: {record.layers[at].label}, {number(record.after[at], 1)}"
    if not sizes:
        return f"{words}."
    why = f" {larger}" if larger and record.after[at] > max(sizes[at]) else ""
    return f"{words}; its experts’ mean {number(sum(sizes[at]) / len(sizes[at]), 1)}.{why}"


def nice_top(value: float) -> tuple[float, float]:
    """Return a round upper end and the step that gives two to four ticks."""
    power = 10.0 ** math.floor(math.log10(value))
    for top, step in ((1, 0.5), (1.5, 0.5), (2, 1), (3, 1), (4, 2), (5, 2.5), (6, 2), (8, 4), (10, 5)):
        if value <= top * power * 1.0001:
            return top * power, step * power
    return 10 * power, 5 * power
