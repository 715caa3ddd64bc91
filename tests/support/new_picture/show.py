"""Open the studio on the tiny project, and print what the new picture's card shows; run by a test in a copy."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from esm_viz.project.project import Project
from esm_viz.ui.page.page_update import PIECES
from esm_viz.ui.page.studio_page import Studio
from tests.support import tiny

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    project = Project.open(tiny.recipe(folder), device="cpu")
    studio = Studio(project, "tiny", "cpu")
    session = studio.first
    assert session.explore_job is not None
    session.explore_job.done.wait(120)
    card = PIECES["update_norms"].paint(session)
    task = session.view.cell[0] if session.view.cell else ""
    asked = project.update_norms(task, session.recipe)  # a method of Project too
    print(json.dumps({"card": card, "values": asked.values}), flush=True)
    os._exit(0)  # jobs of the page still run in threads of their own
