"""One HTML file of pictures that opens without a network: plotly's own script inside, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import plotly.io

from esm_viz.figures.base import Figure
from esm_viz.figures.theme import paint
from esm_viz.figures.words import safe

_STYLE = (
    "body{font:16px/1.45 Inter,system-ui,sans-serif;color:#14181f;background:#f6f7f9;margin:24px auto;"
    "max-width:1180px;padding:0 16px}section{background:#fff;border:1px solid #dfe3e8;border-radius:12px;"
    "padding:12px 16px;margin:16px 0}"
    "h2{font-size:18px;margin:0}p{color:#414a58;margin:2px 0 6px}"
)


def pictures_page(title: str, said: str, pictures: Sequence[tuple[str, Figure, int]]) -> str:
    """Return a whole HTML page.

    Args:
        title: of the page.
        said: one paragraph on what was read and measured.
        pictures: title, figure and height in px of each, in order.
    """
    sections = []
    for at, (name, figure, height) in enumerate(pictures):
        drawn = go.Figure(paint(figure))
        drawn.update_layout(height=height, autosize=True)
        how = str(figure["layout"]["meta"]["how"])
        body = plotly.io.to_html(
            drawn, full_html=False, include_plotlyjs=at == 0, config={"responsive": True, "displaylogo": False}
        )
        sections.append(f"<section><h2>{safe(name)}</h2><p>{safe(how)}</p>{body}</section>")
    head = f'<meta charset="utf-8"><title>{safe(title)}</title><style>{_STYLE}</style>'
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{safe(title)}</h1><p>{safe(said)}</p>'
        f"{''.join(sections)}</body></html>"
    )
