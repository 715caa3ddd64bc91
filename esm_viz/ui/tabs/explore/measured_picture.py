"""A picture of Explore that is measured beside the page: its question, what its card shows, and how old that is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from esm_viz.core.errors import NumericsError, RecipeError
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.jobs.job_queue import LATER
from esm_viz.ui.session.default_selection import settle_view
from esm_viz.ui.session.session_jobs import failed, keep
from esm_viz.ui.session.session_store import Session


def no_controls(session: Session) -> dict[str, Any]:  # noqa: ARG001
    """Give a card no controls."""
    return {}


@dataclass(frozen=True, slots=True)
class MeasuredPicture:
    """One card of Explore.

    Attributes:
        name: of the card.
        title: of the card while there is no record.
        ask: the question; it takes the project, and by name any of `recipe`, `task`, `layer_name`, `direction` and
            `progress`, which are those of the selection.
        show: the session and the record -> what the card shows, `figure` and maybe `title`.
        controls: the session -> the card's choices, which are there without a record too.
    """

    name: str
    title: str
    ask: Callable[..., Any]
    show: Callable[[Session, Any], dict[str, Any]]
    controls: Callable[[Session], dict[str, Any]] = no_controls

    def asked(self, session: Session) -> dict[str, Any]:
        """Return the arguments of the question for what is selected now."""
        task, layer_name = session.view.cell or ("", "")
        selected = {
            "recipe": session.recipe,
            "task": task,
            "layer_name": layer_name,
            "direction": session.view.direction,
        }
        return {name: value for name, value in selected.items() if name in self._takes()}

    def measure(self, session: Session, job: Job) -> bool:
        """Ask the question and keep its record; say whether the job may go on."""
        with session.lock:
            project, asked = session.project, self.asked(session)
        progress = {"progress": job.progress} if "progress" in self._takes() else {}
        try:
            record = self.ask(project, **asked, **progress)
        except (RecipeError, NumericsError) as error:  # a direction or a rank that is not there: its card says so
            write = partial(session.errors.__setitem__, self.name, str(error))
        else:
            write = partial(session.explore_records.__setitem__, self.name, (asked, record))
        return keep(session, job, (self.name,), write)

    def card(self, session: Session) -> dict[str, Any]:
        """Return what the card shows: the newest record, and whether it is that of the present selection."""
        piece = {"title": self.title, **self.controls(session)}
        error = session.errors.get(self.name, "")
        found, measuring = (
            session.explore_records.get(self.name),
            session.explore_job is not None and session.explore_job.running,
        )
        if found is None:
            told = "Being measured." if measuring else "Stopped. Select a cell to measure it."
            return piece | ({"error": error} if error else {"empty": told})
        asked, record = found
        age = "" if error or asked == self.asked(session) else "updating" if measuring else "stopped"
        return piece | self.show(session, record) | {"error": error, "stale": age}

    def _takes(self) -> Sequence[str]:
        return tuple(inspect.signature(self.ask).parameters)


def measure_pictures(session: Session, pictures: Sequence[MeasuredPicture]) -> None:
    """Measure pictures for what is selected, beside the page; a newer selection ends an older measurement."""
    names = tuple(picture.name for picture in pictures)
    with session.lock:
        if session.explore_job is not None:
            session.explore_job.cancel()
        for name in names:
            session.errors.pop(name, None)
        session.explore_job = job = Job("Measuring what is selected", owner=session.id, urgency=LATER)

    def work(job: Job) -> None:
        settle_view(session)
        for picture in pictures:
            if not picture.measure(session, job):
                return

    # at its end, what still says that it is being measured no longer is
    job.start(work, lambda text: failed(session, names[0], text, names), lambda: session.touch(names))
