"""The card of stability: how much the selected basis depends on the proxies drawn."""

from __future__ import annotations

from typing import Any

from esm_viz.core.records import Stability
from esm_viz.figures import stability_figure
from esm_viz.figures.number_format import safe
from esm_viz.ui.components.html_snippets import mark
from esm_viz.ui.session.session_store import Session


def stability_card(session: Session, record: Stability) -> dict[str, Any]:
    """Return the card's title and figure."""
    index = session.project.tasks.index(record.task)
    title = f"Stability at {record.layer.label}, {safe(record.task)} {mark(index)}"
    return {"title": title, "figure": stability_figure(record, index)}
