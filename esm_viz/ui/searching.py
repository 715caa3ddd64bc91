"""Searches over knobs: α on validation images."""

from __future__ import annotations

from esm_viz.merge import with_parameters
from esm_viz.ui.jobs import Job
from esm_viz.ui.live import LIVE, SCORES, set_recipe
from esm_viz.ui.running import keep, start
from esm_viz.ui.store import Session


def search_alpha(session: Session) -> None:
    """Find α on validation images and use it."""

    def work(job: Job) -> None:
        recipe = session.recipe
        found = session.project.search_alpha(recipe, job.report)
        if not keep(session, job, (), lambda: setattr(session, "search", (recipe, found))):
            return
        found_recipe = with_parameters(recipe, alpha=found.alpha)
        if with_parameters(session.recipe, alpha=found.alpha) == found_recipe:  # no other knob moved meanwhile
            set_recipe(session, found_recipe)
            session.touch((*LIVE, *SCORES))

    start(session, "Searching α", work, "rail", ("rail",))
