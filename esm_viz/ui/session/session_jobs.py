"""Starting a session's jobs, writing their results, and handling their errors.

A job reads the session's recipe once, runs without the session's lock, and writes its result only if it was not
cancelled, so that an old result never replaces a newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session.session_store import Session

SHORT = 0.05  # seconds between two checks whether a moved knob's job has ended


def start(session: Session, what: str, work: Callable[[Job], None], place: str, names: Iterable[str]) -> None:
    """Start the session's explicit job; if one is running already, refuse the new one with a message."""
    with session.lock:
        if session.task is not None and session.task.running:
            session.errors[place] = f"{session.task.what} is still running, wait or cancel it"
            session.touch(names)
            return
        session.errors.pop(place, None)
        session.task = own = Job(what, tells=True, owner=session.id)
    # at its end, the buttons that it disabled are enabled again
    own.start(work, lambda text: failed(session, place, text, names), lambda: session.touch(names))


def failed(session: Session, place: str, text: str, names: Iterable[str]) -> None:
    """Keep the error sentence of a failed job, and mark the pieces that show it as changed."""
    with session.lock:
        session.errors[place] = text
        session.touch(names)


def keep(session: Session, job: Job, names: Iterable[str], write: Callable[[], None]) -> bool:
    """Write a result unless the job was cancelled; return whether it was written."""
    with session.lock:
        if job.cancelled:
            return False
        write()
        session.touch(names)
        return True


def wait_for_live(session: Session, job: Job) -> None:
    """Wait, between two measurements of a long job, until a moved knob's recipe is measured.

    Must not be called during a measurement, since the other job may wait for a stage that it is computing.

    Raises:
        Cancelled: the job was cancelled meanwhile.
    """
    while (live := session.live) is not None and live.running:
        job.pause(SHORT)
