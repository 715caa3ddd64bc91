"""What the slower pictures of Explore show of the selected cell, measured beside the page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from esm_viz.core.errors import RecipeError
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.jobs.job_queue import LATER
from esm_viz.ui.jobs.job_start import failed, keep
from esm_viz.ui.session.default_selection import settle_view
from esm_viz.ui.session.session_store import Session

SLOW = ("stability", "patches", "subspaces")


def look(session: Session) -> None:
    """Measure what the slower pictures of Explore show of the selected cell; a newer selection ends an older look."""
    with session.lock:
        if session.look is not None:
            session.look.cancel()
        for name in SLOW:
            session.errors.pop(name, None)
        session.look = job = Job("Measuring what is selected", owner=session.id, urgency=LATER)
    job.start(lambda job: _look(session, job), lambda text: failed(session, SLOW[0], text, SLOW))


def _look(session: Session, job: Job) -> None:
    settle_view(session)
    with session.lock:
        project, recipe, asked = session.project, session.recipe, looked_at(session)
    task, layer = asked["stability"][1:]
    direction = asked["patches"][-1]
    measure: dict[str, Callable[[], object]] = {
        "patches": lambda: project.patches(task, layer, direction, recipe, progress=job.progress),
        "stability": lambda: project.stability(task, layer, recipe, job.progress),
        "subspaces": lambda: project.subspace_map(recipe, job.progress),
    }
    for name, ask in measure.items():
        try:
            record = ask()
        except RecipeError as error:  # a direction that is not there: its card says so, the others go on
            write = partial(session.errors.__setitem__, name, str(error))
        else:
            write = partial(session.looks.__setitem__, name, (asked[name], record))
        if not keep(session, job, (name,), write):
            return


def looked_at(session: Session) -> dict[str, tuple[Any, ...]]:
    """Return what each slower picture should show now."""
    cell = session.view.cell or ("", "")
    return {
        "stability": (session.recipe, *cell),
        "patches": (session.recipe, *cell, session.view.direction),
        "subspaces": (session.recipe,),
    }
