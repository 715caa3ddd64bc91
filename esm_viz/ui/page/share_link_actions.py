"""Restoring the state of a share link, with the same messages and checks as clicks."""

from __future__ import annotations

import dataclasses

from esm_viz.core.errors import EsmVizError, RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session import share_link
from esm_viz.ui.session.session_jobs import keep, start
from esm_viz.ui.session.session_store import Session, State
from esm_viz.ui.tabs.explore import explore_tab
from esm_viz.ui.tabs.merge.live_preview import LIVE, SCORES, compare, set_recipe
from esm_viz.ui.tabs.merge.merge_tab import title_of

PLACE = "link"  # key of Session.errors


def follow(session: Session, text: str) -> None:
    """Restore the state of a link; if the link is wrong, show one sentence and keep the session as it was."""
    try:
        bring(session, share_link.read(text))
    except EsmVizError as error:
        session.errors[PLACE] = str(error)


def bring(session: Session, link: share_link.Link) -> None:
    """Restore a link's state, or leave the session as it was.

    Raises:
        EsmVizError: the link is for other files, or names something that this project does not have.
    """
    if link.files != share_link.files_of(session):
        here = f"this page has {session.name} open, with other files"
        raise RecipeError(f"This link is for {link.project}", "open that project and then the link again", here)
    recipe = link.merge.on(session.project.recipe)
    pinned = link.pinned.on(session.project.recipe) if link.pinned else None
    before = dataclasses.replace(session.view)
    try:
        for do, value in link.views.items():
            explore_tab.act(session, {"do": do, "value": value})
        for do, data in (("cell", link.cell), ("pair", link.pair)):
            if data:
                explore_tab.act(session, {"do": do, "data": list(data)})
    except RecipeError:
        session.view = before
        raise
    if recipe != session.recipe:
        set_recipe(session, recipe)
    if pinned is not None and (session.pinned is None or session.pinned.recipe != pinned):
        _pin(session, pinned)


def _pin(session: Session, recipe: Recipe) -> None:
    """Merge and measure the state A of a link in the background."""

    def work(job: Job) -> None:
        project = session.project
        report = project.merge(recipe, job.progress)
        state = State(recipe, report, None, title_of(recipe.method, report.alpha))
        keep(session, job, (*LIVE, *SCORES), lambda: setattr(session, "pinned", state))
        if project.has_labels("validation"):
            scores = project.evaluate(recipe, "validation", 0, job.progress, oracle=False)
            measured = dataclasses.replace(state, evaluation=scores)

            def write() -> None:
                if session.pinned is state:  # no other one was pinned meanwhile
                    session.pinned = measured

            keep(session, job, (*LIVE, *SCORES), write)
            compare(session)

    start(session, "Measuring A", work, PLACE, ("bar",))
