"""How a session's jobs start, write their results and fail.

A job reads the session's recipe once, works without the lock, and writes its result only while nobody cancelled it:
what is late is dropped, so an old value never replaces a newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session.session_store import Session

SHORT = 0.05  # seconds between two looks whether a knob has come to rest


def start(session: Session, what: str, work: Callable[[Job], None], place: str, names: Iterable[str]) -> None:
    """Start the session's one explicit job; a second one waits for nobody, it is refused."""
    with session.lock:
        if session.task is not None and session.task.running:
            session.errors[place] = f"{session.task.what} is still running, wait or cancel it"
            session.touch(names)
            return
        session.errors.pop(place, None)
        session.task = own = Job(what, tells=True, owner=session.id)
    # at its end, what it kept from being pressed may be pressed again
    own.start(work, lambda text: failed(session, place, text, names), lambda: session.touch(names))


def failed(session: Session, place: str, text: str, names: Iterable[str]) -> None:
    """Note the one sentence of a job that did not end well."""
    with session.lock:
        session.errors[place] = text
        session.touch(names)


def keep(session: Session, job: Job, names: Iterable[str], write: Callable[[], None]) -> bool:
    """Write a result unless the job was cancelled; say whether it was written."""
    with session.lock:
        if job.cancelled:
            return False
        write()
        session.touch(names)
        return True


def give_way(session: Session, job: Job) -> None:
    """Let the hand on a knob go first: between two measurements, wait until its recipe is measured.

    Never inside one: what it holds could be what the other waits for.

    Raises:
        Cancelled: somebody stopped the job meanwhile.
    """
    while (live := session.live) is not None and live.running:
        job.pause(SHORT)
