"""Work that runs beside the page: a thread each, a fraction to show, and an end at the next layer or batch.

Gradio's own `cancels=` lets a plain function run to its end; here the stages call `Job.report` at every boundary, and
it raises Cancelled once somebody wants the job gone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from esm_viz.errors import Cancelled, EsmVizError

UNEXPECTED = "Something went wrong that should not have, try again or load the demo"
_LOG = logging.getLogger("esm_viz.ui")
_LIVE = ThreadPoolExecutor(max_workers=4, thread_name_prefix="live")
_LONG = ThreadPoolExecutor(max_workers=2, thread_name_prefix="long")  # apart, so that knobs never wait for a search


class Job:
    """One piece of work of one session.

    Attributes:
        what: what the job line says.
        fraction, words: how far it is.
        first: set when there is something to show, or when it ended.
    """

    def __init__(self, what: str, tells: bool = False) -> None:
        """Start it with `start`; a job that `tells` is long, and its words stand on the job line."""
        self.what = what
        self.tells = tells
        self._pool = _LONG if tells else _LIVE
        self.fraction = 0.0
        self.words = ""
        self.resting = False
        self.first = threading.Event()
        self.done = threading.Event()
        self._stop = threading.Event()
        self._began = time.monotonic()

    def start(self, work: Callable[[Job], None], failed: Callable[[str], None]) -> Job:
        """Run `work(job)` in a thread; `failed` gets the one sentence if it does not end well."""
        self._pool.submit(self._run, work, failed)
        return self

    def report(self, fraction: float, words: str) -> None:
        """Note the progress.

        Raises:
            Cancelled: somebody stopped the job.
        """
        if self._stop.is_set():
            raise Cancelled
        self.fraction, self.words = min(1.0, max(0.0, fraction)), words

    def cancel(self) -> None:
        """Ask the job to end at its next boundary."""
        self._stop.set()
        self.first.set()

    @property
    def cancelled(self) -> bool:
        """Say whether somebody stopped it."""
        return self._stop.is_set()

    @property
    def alive(self) -> bool:
        """Say whether it still has something to do for somebody."""
        return not self.done.is_set() and not self.cancelled

    @property
    def running(self) -> bool:
        """Say whether somebody waits for it."""
        return self.alive and not self.resting

    def rest(self, seconds: float) -> None:
        """Wait for the hand on a knob to come to rest.

        Raises:
            Cancelled: it did not.
        """
        self.resting = True
        self.pause(seconds)

    def pause(self, seconds: float) -> None:
        """Leave the processor to the page for a moment.

        Raises:
            Cancelled: somebody stopped the job meanwhile.
        """
        if self._stop.wait(seconds):
            raise Cancelled

    @property
    def age(self) -> float:
        """Return the seconds since it was asked for."""
        return time.monotonic() - self._began

    def _run(self, work: Callable[[Job], None], failed: Callable[[str], None]) -> None:
        try:
            self.report(0.0, "")
            work(self)
        except Cancelled:
            _LOG.debug("%s: cancelled", self.what)
        except EsmVizError as error:
            failed(str(error))
        except Exception:  # noqa: BLE001 - a visitor sees a sentence, never a traceback
            _LOG.debug("%s: unexpected", self.what, exc_info=True)
            failed(UNEXPECTED)
        finally:
            self.done.set()
            self.first.set()
