"""The studio's settings: the opening project, the device, and what visitors may do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from esm_viz.project.project import Project
from esm_viz.ui.server.visitor_limits import USUAL, Limits


@dataclass(frozen=True, slots=True)
class StudioSettings:
    """One server's settings: the opening project and its name, the device, and what visitors may do."""

    demo: Project
    name: str
    device: str
    folder: Path | None = None  # folder whose projects visitors may open, if the operator allowed one
    limits: Limits = USUAL  # of one visitor
    hub: bool = False  # whether visitors may make this server download from a hub
