"""Where the studio runs: what all pages open on, and what visitors may reach."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from esm_viz.project.project import Project
from esm_viz.ui.server.visitor_limits import USUAL, Limits


@dataclass(frozen=True, slots=True)
class Place:
    """One server's place: the project that all pages open on and its name, the device, and what visitors may do."""

    demo: Project
    name: str
    device: str
    folder: Path | None = None  # whose projects visitors may open, where the operator allowed one
    limits: Limits = USUAL  # of what one visitor may have
