"""The size of the merged change per layer, before and after the inter-layer level."""

from __future__ import annotations

import math
from typing import Any

from esm_viz.core.records import LayerNorms
from esm_viz.figures.figure_parts import LABEL, Columns, Figure, axis, note, picture, token
from esm_viz.figures.number_format import number


def norms_figure(record: LayerNorms, top: float = 0.0) -> Figure:
    """Draw both profiles, family by family.

    Args:
        record: norms before and after.
        top: least upper end of the y axis, so that the scale does not change while a slider moves.
    """
    columns = Columns.of(record.layers)
    highest = max([*record.before, *record.after, top, 1e-9])
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
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": [columns.places[i] for i in members],
            "y": [values[i] for i in members],
            "line": line,
            "marker": marker,
            "text": [record.layers[i].label for i in members],
            "hovertemplate": f"<b>%{{text}}</b><br>‖ΔW‖ {name} %{{y:.3g}}<extra></extra>",
        }
        for name, values, line, marker in styles
        for _, members in columns.families
    ]
    notes = columns.titles()
    if columns.families and not level:
        last = columns.families[-1][1][-1]
        above = record.after[last] >= record.before[last]
        for name, values, up in (("<b>after</b>", record.after, above), ("before", record.before, not above)):
            notes.append(
                note(
                    1.0,
                    values[last],
                    name,
                    xref="paper",
                    xanchor="left",
                    yanchor="bottom" if up else "top",
                    yshift=-1 if up else 1,
                    size=LABEL,
                    color=token("ink" if "after" in name else "ink-2"),
                )
            )
    return picture(
        data,
        "Each point is one layer of the merged change."
        if level
        else "Layer power makes large layers larger, small ones smaller.",
        f"‖ΔW‖ after the layer level, largest {number(max(record.after, default=math.nan))}.",
        table=[["layer", "‖ΔW‖ before", "‖ΔW‖ after"]]
        + [[layer.name, *ends] for layer, *ends in zip(record.layers, record.before, record.after, strict=True)],
        margin={"l": 56, "r": 16 if level else 60, "t": 22, "b": 44},
        xaxis=columns.axis(most=3),
        yaxis=axis(
            "‖ΔW‖", range=[0, high * 1.04], tickvals=[i * step for i in range(math.floor(high / step + 1e-9) + 1)]
        ),
        annotations=notes,
    )


def nice_top(value: float) -> tuple[float, float]:
    """Return a round upper end and the step that gives two to four ticks."""
    power = 10.0 ** math.floor(math.log10(value))
    for top, step in ((1, 0.5), (1.5, 0.5), (2, 1), (3, 1), (4, 2), (5, 2.5), (6, 2), (8, 4), (10, 5)):
        if value <= top * power * 1.0001:
            return top * power, step * power
    return 10 * power, 5 * power
