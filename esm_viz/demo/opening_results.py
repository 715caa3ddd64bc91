"""Write down what the demo's opening page shows: `python -m esm_viz.demo.opening_results`, after a change.

The studio answers from this file until it has decomposed the demo itself. It holds whatever the page asks for while it
opens, so a new picture on it needs no line here, only this command.
"""

from __future__ import annotations

from esm_viz.inspection.recipe_file import load_recipe
from esm_viz.project.project import Project
from esm_viz.runtime.recorded_results import RecordedResults
from esm_viz.ui.page.opening_session import begin
from esm_viz.ui.page.page_update import PIECES, paint
from esm_viz.ui.session.session_store import Store
from esm_viz.ui.session.studio_settings import StudioSettings
from esm_viz.ui.studio_server import DEMO, OPENING

PATIENCE = 600.0  # seconds


def opening_answers(known: RecordedResults) -> RecordedResults:
    """Open the page on the demo, and return what it asked and was answered.

    Args:
        known: without any answers, to have all of them computed and written down.
    """
    project = Project.open(load_recipe(DEMO), device="cpu")
    if not known.plain:
        project.prepare()
    project.recorded = known
    store = Store()
    first = begin(store, StudioSettings(project, "Demo", "cpu"))
    for job in (first.live, first.explore_job):
        assert job is not None
        assert job.done.wait(PATIENCE)
    assert not first.errors, first.errors
    paint(first, PIECES, "")
    store.close()
    return known


if __name__ == "__main__":
    opening_answers(RecordedResults()).write(OPENING)
    print(f"{OPENING.name}: {OPENING.stat().st_size} bytes")
