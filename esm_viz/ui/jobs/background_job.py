"""The background job: it waits in the job queue, has a progress, and can be cancelled at the next layer or batch.

Gradio's own `cancels=` lets a plain function run to its end. Here, the stages call `Job.progress` at every layer or
batch; it raises Cancelled after the job was cancelled, and lets more urgent jobs run first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from esm_viz.core.errors import Cancelled, EsmVizError
from esm_viz.core.progress import Progress
from esm_viz.ui.jobs.job_queue import LONG, NOW, JobQueue, Turn

UNEXPECTED = "Something went wrong that should not have, try again or load the demo"
WORKERS = JobQueue()  # the process's
_LOG = logging.getLogger("esm_viz.ui")

Steps = Iterator[Turn]


class Job:
    """One piece of work of one session.

    Attributes:
        what: name of the job in the header's status line.
        tells: whether it is long, so that the status line also shows its words.
        owner: id of the session; owners take turns.
        fraction, words: its progress.
        progress: callback for the work; lets more urgent jobs run first and raises Cancelled after `cancel`.
        first: event that is set when there is a first result, or when the job has ended.
    """

    def __init__(self, what: str, tells: bool = False, owner: str = "", urgency: int | None = None) -> None:
        """Make a job, to be started with `start`; by default, it is LONG if `tells` and NOW otherwise."""
        self.what = what
        self.tells = tells
        self.owner = owner
        self.urgency = (LONG if tells else NOW) if urgency is None else urgency
        self.fraction = 0.0
        self.words = ""
        self.resting = False
        self.first = threading.Event()
        self.done = threading.Event()
        self._over = False
        self._stop = threading.Event()
        self.progress = Progress(self._tell)
        self._asked = time.monotonic()
        self._begin: Callable[[Job], Steps | None] = lambda _: None
        self._failed: Callable[[str], None] = _LOG.debug
        self._ended: Callable[[], None] = lambda: None
        self._steps: Steps | None = None

    def start(
        self,
        work: Callable[[Job], Steps | None],
        failed: Callable[[str], None],
        ended: Callable[[], None] = lambda: None,
    ) -> Job:
        """Put the job into the queue.

        Args:
            work: a function, or a generator that yields a `Turn` wherever another job may take over the thread.
            failed: called with one sentence if the job fails.
            ended: called at the end in any case.
        """
        self._begin, self._failed, self._ended = work, failed, ended
        try:
            WORKERS.join(self, self.urgency)
        except EsmVizError as error:
            self._end(str(error))
        return self

    def _tell(self, fraction: float, words: str) -> None:
        """Keep the progress, and let more urgent jobs run first.

        Raises:
            Cancelled: the job was cancelled.
        """
        if not self.cancelled:
            WORKERS.boundary(self)
        if self.cancelled:
            raise Cancelled
        self.fraction, self.words = min(1.0, max(0.0, fraction)), words

    def cancel(self) -> None:
        """End the job at its next call of `progress`, or at once if it is still waiting in the queue."""
        self._stop.set()
        self.first.set()
        WORKERS.withdraw(self)

    @property
    def cancelled(self) -> bool:
        """Say whether it was cancelled."""
        return self._stop.is_set()

    @property
    def alive(self) -> bool:
        """Say whether it has not ended and was not cancelled."""
        return not self._over and not self.cancelled

    @property
    def running(self) -> bool:
        """Say whether the page waits for its result."""
        return not self.done.is_set() and not self.cancelled and not self.resting

    @property
    def place(self) -> int:
        """Return its place in the queue, from 1; 0 if it does not wait for other jobs."""
        return WORKERS.place(self)

    def pause(self, seconds: float) -> None:
        """Sleep for some seconds without a permit, so that other jobs can run.

        Raises:
            Cancelled: the job was cancelled meanwhile.
        """

        def sleep() -> None:
            if self._stop.wait(seconds):
                raise Cancelled

        WORKERS.asleep(self, sleep)

    @property
    def age(self) -> float:
        """Return the seconds since the job was made."""
        return time.monotonic() - self._asked

    def step(self) -> Turn | None:
        """Run to the end (None) or to the next `Turn`; errors are handled inside the job."""
        try:
            if self._steps is None:
                self.progress(0.0, "")
                self._steps = self._begin(self)
            else:
                self.progress(self.fraction, self.words)
            turn = next(self._steps, None) if self._steps is not None else None
        except Cancelled:
            _LOG.debug("%s: cancelled", self.what)
            self._end()
        except EsmVizError as error:
            self._end(str(error))
        except BaseException:  # noqa: BLE001 - a visitor sees a sentence, and the worker lives on
            _LOG.debug("%s: unexpected", self.what, exc_info=True)
            self._end(UNEXPECTED)
        else:
            if turn is None:
                self._end()
            return turn
        return None

    def withdrawn(self) -> None:
        """End because the queue dropped the job."""
        self._end()

    def _end(self, wrong: str = "") -> None:
        steps, self._steps = self._steps, None
        try:
            if steps is not None and hasattr(steps, "close"):
                steps.close()
            if wrong:
                self._failed(wrong)
        finally:
            self.done.set()
            self.first.set()
            self._ended()
            self._over = True  # set last, since the page stops asking for results then
