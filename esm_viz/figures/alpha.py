"""The search for α: mean share of the experts' accuracy at each α that was tried."""

from __future__ import annotations

from esm_viz.figures.base import Figure, axis, marked, percent_ticks, picture, token
from esm_viz.figures.words import number, percent
from esm_viz.types import AlphaSearch

WIDEST = 1.5  # least right end of the α axis


def alpha_figure(record: AlphaSearch) -> Figure:
    """Draw the points visited as a curve in α, the best one marked."""
    points = sorted({point.alpha: point for point in record.trace}.values(), key=lambda point: point.alpha)
    low = min([point.normalised for point in points], default=0.0)
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": [p.alpha for p in points],
            "y": [100 * p.normalised for p in points],
            "line": {"color": token("ink"), "width": 3},
            "marker": {"size": 9, "color": token("ink")},
            "customdata": [p.alpha for p in points],
            "hovertemplate": "α %{x:.3g}: %{y:.1f} % of the experts<extra></extra>",
        },
    ]
    return picture(
        data,
        "Each point is one α that was tried. Click a point to use that α.",
        f"Best α {number(record.alpha)}: {percent(record.normalised, 1)} % of the experts on validation images.",
        margin={"l": 58, "r": 16, "t": 10, "b": 44},
        xaxis=axis("scale α", range=[0, max([WIDEST, *(p.alpha * 1.05 for p in points)])]),
        yaxis=axis("% of experts, validation", **percent_ticks(100 * low)),
        **marked(record.alpha, f"best, α = {number(record.alpha)}"),
    )
