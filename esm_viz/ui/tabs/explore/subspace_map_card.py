"""The card of the subspace map: all tasks and layers on one plane, of all families of layers or of one."""

from __future__ import annotations

from typing import Any

from esm_viz.core.records import SubspaceMap, families_of
from esm_viz.figures import subspace_map_figure
from esm_viz.ui.session.session_store import Session

EVERY = "all"  # families of layers


def subspace_map_card(session: Session, record: SubspaceMap) -> dict[str, Any]:
    """Return the card's figure."""
    family = "" if session.view.family == EVERY else session.view.family
    return {"figure": subspace_map_figure(record, family, session.view.cell)}


def family_choice(session: Session) -> dict[str, Any]:
    """Return the choice of the family of layers; a click on a point selects its cell."""
    choices = [[EVERY, "All"], *([family, family] for family in families_of(session.project.layers))]
    return {"choices": choices, "chosen": session.view.family, "switch": "family", "picks": "cell"}
