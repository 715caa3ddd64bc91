"""The card of patches: the image patches that excite one direction of the selected cell."""

from __future__ import annotations

from typing import Any

from esm_viz.core.records import Patches
from esm_viz.figures import patches_figure
from esm_viz.figures.number_format import safe
from esm_viz.ui.components.html_snippets import mark
from esm_viz.ui.session.session_store import Session

DIRECTIONS = ("1", "2", "3", "4")


def patches_card(session: Session, record: Patches) -> dict[str, Any]:
    """Return the card's title and figure."""
    mine = mark(session.project.tasks.index(record.task))
    title = f"What direction {record.direction} sees at {record.layer.label}, {safe(record.task)} {mine}"
    return {"title": title, "figure": patches_figure(record)}


def direction_choice(session: Session) -> dict[str, Any]:
    """Return the choice of the direction."""
    choices = [[number, number] for number in DIRECTIONS]
    return {"choices": choices, "chosen": str(session.view.direction), "switch": "direction"}
