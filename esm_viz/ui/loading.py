"""Opening a project: read, decompose, and put on screen; the old one stays until the new one is whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from esm_viz.pipeline import Project
from esm_viz.recipe import Recipe
from esm_viz.types import Report
from esm_viz.ui.comparing import kept_rows
from esm_viz.ui.jobs import Job
from esm_viz.ui.live import set_recipe
from esm_viz.ui.looks import look
from esm_viz.ui.running import keep, part, start
from esm_viz.ui.searches import Searches
from esm_viz.ui.store import EVERYTHING, Session


def load(session: Session, name: str, read: Callable[[Report], Project]) -> None:
    """Open a project, decompose it, and put it on screen; the old one stays until the new one is whole."""

    def work(job: Job) -> None:
        project = read(part(job.report, 0.0, 0.3, "reading"))
        project.prepare(part(job.report, 0.3, 0.6, ""))
        recipe = project.with_alpha_found(project.recipe, part(job.report, 0.9, 0.1, ""))
        if keep(session, job, (), lambda: adopt(session, name, project, recipe)):
            set_recipe(session, recipe)
            look(session)
            session.touch((EVERYTHING,))

    start(session, "Loading", work, "load", ("source", "found", "cost"))


def adopt(session: Session, name: str, project: Project, recipe: Recipe) -> None:
    """Make a prepared project the session's own; everything measured of the old one goes."""
    session.name, session.project, session.recipe = name, project, recipe
    session.report = session.validation = session.pinned = session.search = session.proof = session.explored = None
    session.refused = None
    session.looks, session.closer, session.searches = {}, {}, Searches()
    for job in (session.look, session.close_look):
        if job is not None:
            job.cancel()  # of the old project
    session.history, session.at, session.errors = [], -1, {}
    session.board = kept_rows(project) if project is session.place.demo else []
    session.view = dataclasses.replace(session.view, cell=None, pair=None, direction=1, difference=False)
    session.view = dataclasses.replace(session.view, task="", image=-1, routed="", layout="")
    session.thumbs = {task: project.thumbnails(task, 3) for task in project.tasks}
