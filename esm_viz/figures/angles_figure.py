"""Principal angles between two experts' subspaces at one layer, beside those of random subspaces."""

from __future__ import annotations

from esm_viz.core.records import Angles
from esm_viz.figures.figure_parts import LABEL, Figure, axis, note, picture, token
from esm_viz.figures.number_format import number, safe

SHARED = 45.0  # degrees; below it a direction counts as shared in the sentence


def angles_figure(record: Angles) -> Figure:
    """Draw the angles in ascending order on a scale of 0 to 90 degrees."""
    count = max(len(record.degrees), 1)
    numbers = list(range(1, count + 1))
    hover = "angle %{x}: %{y:.0f}°<extra><b>%{fullData.name}</b></extra>"
    shared = sum(angle < SHARED for angle in record.degrees)
    pair = f"{record.tasks[0]}, {record.tasks[1]}"
    step = max(1, count // 4)
    middle = count // 2
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "random",
            "x": numbers,
            "y": list(record.random_degrees),
            "line": {"color": token("ref"), "width": 2.5, "dash": "dash"},
            "hovertemplate": hover,
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": safe(pair),
            "x": numbers,
            "y": list(record.degrees),
            "line": {"color": token("ink"), "width": 3.5},
            "meta": {"tasks": list(record.tasks)},
            "hovertemplate": hover,
        },
    ]
    notes = []
    if record.degrees:
        notes = [
            note(
                numbers[middle],
                record.degrees[middle],
                f"<b>{safe(pair)}</b>",
                xanchor="left",
                yanchor="top",
                xshift=8,
                yshift=-4,
                color=token("ink"),
                size=LABEL,
            ),
            note(
                numbers[middle],
                record.random_degrees[middle],
                "random subspaces",
                xanchor="right",
                yanchor="bottom",
                xshift=-6,
                yshift=2,
            ),
        ]
    least = number(record.degrees[0], 0) if record.degrees else "–"
    return picture(
        data,
        "Angles near 0° are shared directions.",
        f"{record.tasks[0]} and {record.tasks[1]} at {record.layer.label}: smallest angle {least}°, "
        f"{shared} of {len(record.degrees)} below {number(SHARED, 0)}°.",
        margin={"l": 58, "r": 16, "t": 8, "b": 44},
        xaxis=axis("angle number, smallest first", range=[0, count + 1], tickvals=[1, *range(step, count + 1, step)]),
        yaxis=axis("angle, degrees", range=[0, 94], tickvals=[0, 30, 60, 90]),
        annotations=notes,
    )
