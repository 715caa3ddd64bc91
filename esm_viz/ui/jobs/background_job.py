"""Work that runs beside the page: a place in the line, a fraction to show, and an end at the next layer or batch.

Gradio's own `cancels=` lets a plain function run to its end; here the stages call `Job.progress` at every boundary, and
it raises Cancelled once somebody wants the job gone. There too it lets more urgent work of others go first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from esm_viz.core.errors import Cancelled, EsmVizError
from esm_viz.core.progress import Progress
from esm_viz.ui.jobs.job_queue import LONG, NOW, Turn, Workers

UNEXPECTED = "Something went wrong that should not have, try again or load the demo"
WORKERS = Workers()  # the process's
_LOG = logging.getLogger("esm_viz.ui")

Steps = Iterator[Turn]


class Job:
    """One piece of work of one session.

    Attributes:
        what: what the job line says.
        tells: it is long, and its words stand on the job line.
        owner: whose it is; people take turns.
        fraction, words: how far it is.
        progress: tells how far it is, lets more urgent work go first, and raises Cancelled once somebody stopped it.
        first: set when there is something to show, or when it ended.
    """

    def __init__(self, what: str, tells: bool = False, owner: str = "", urgency: int | None = None) -> None:
        """Start it with `start`; one that tells is long work, any other what a hand on a knob waits for."""
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
        """Take a place in the line.

        Args:
            work: does everything at once, or yields a `Turn` wherever somebody else may have the thread.
            failed: gets the one sentence if it does not end well.
            ended: called at the end, whatever it was.
        """
        self._begin, self._failed, self._ended = work, failed, ended
        try:
            WORKERS.join(self, self.urgency)
        except EsmVizError as error:
            self._end(str(error))
        return self

    def _tell(self, fraction: float, words: str) -> None:
        """Note the progress, and let others go first who have a better claim.

        Raises:
            Cancelled: somebody stopped the job.
        """
        if not self.cancelled:
            WORKERS.boundary(self)
        if self.cancelled:
            raise Cancelled
        self.fraction, self.words = min(1.0, max(0.0, fraction)), words

    def cancel(self) -> None:
        """Ask the job to end at its next boundary; what waits in line ends at once."""
        self._stop.set()
        self.first.set()
        WORKERS.withdraw(self)

    @property
    def cancelled(self) -> bool:
        """Say whether somebody stopped it."""
        return self._stop.is_set()

    @property
    def alive(self) -> bool:
        """Say whether it still has something to do for somebody."""
        return not self._over and not self.cancelled

    @property
    def running(self) -> bool:
        """Say whether somebody waits for it."""
        return not self.done.is_set() and not self.cancelled and not self.resting

    @property
    def place(self) -> int:
        """Return its place in the line, the first being 1; 0 where it does not wait for others."""
        return WORKERS.place(self)

    def pause(self, seconds: float) -> None:
        """Leave the processor to others for a moment.

        Raises:
            Cancelled: somebody stopped the job meanwhile.
        """

        def sleep() -> None:
            if self._stop.wait(seconds):
                raise Cancelled

        WORKERS.asleep(self, sleep)

    @property
    def age(self) -> float:
        """Return the seconds since it was asked for."""
        return time.monotonic() - self._asked

    def step(self) -> Turn | None:
        """Work until the end (None) or until the next turn; whatever goes wrong stays in the job."""
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
        """End without having been given another turn."""
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
            self._over = True  # only now: until then there is something for somebody to come back for
