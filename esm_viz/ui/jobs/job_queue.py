"""The job queue: a bounded priority queue for all visitors, with as many permits to run as there are cores.

Short jobs run before long jobs. At equal urgency, owners take turns; the one who ran longest ago is first. A running
job gives up its permit at its next boundary (a call of `progress`) if a more urgent job waits, and after one second if
an equally urgent one does. So a long sweep runs while nothing else is to be done, and a slider never waits for it.
Waiting jobs become more urgent with time, so each of them runs eventually.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from esm_viz.core.errors import Busy
from esm_viz.runtime.stage_cache import computing
from esm_viz.runtime.thread_pool import begin_thread, cores, thread_count

# Urgency: all stages are cached; a moved knob waits for it; its first images; its other images; long jobs.
AT_ONCE, NOW, SOON, LATER, LONG = range(5)
AGEING = 5.0  # seconds of waiting that make a job one step more urgent
QUANTUM = 1.0  # seconds of work until others of the same urgency come
EASE = 0.5  # most seconds for which other jobs pause at each boundary while a moved knob's job runs
MOST = 200  # waiting jobs
SPARE = 8  # threads for jobs that have begun and gave up their permit


class Work(Protocol):
    """The interface of a job that the queue uses."""

    owner: str

    @property
    def cancelled(self) -> bool:
        """Say whether it was cancelled."""

    def step(self) -> Turn | None:
        """Run to the end (None) or to the next `Turn`."""

    def withdrawn(self) -> None:
        """Called when the queue drops the job, so that no further step runs."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The request of a job between two steps: the urgency of its next step, and the seconds until it may run."""

    urgency: int
    after: float = 0.0


@dataclass(eq=False, slots=True)
class _Place:
    """The entry of one job in the queue."""

    work: Work
    urgency: int
    since: float  # time of waiting since, or of the earliest start if it is in the future
    number: int
    go: threading.Event | None = None  # set when a job that has begun and waits in its own thread may go on


@dataclass(eq=False, slots=True)
class _Permit:
    """The right to run, held by one job at a time."""

    least: int  # least urgency of jobs that may hold it
    urgency: int = NOW  # urgency of its holder
    claim: int = NOW  # urgency with which its holder got it, valid for a quantum
    since: float = 0.0
    extra: bool = False  # whether it is beyond the usual number


def usual(count: int) -> tuple[int, ...]:
    """Return the least urgency of each core's permit: half are reserved for short jobs, one for cached results."""
    count = max(2, count)
    return (AT_ONCE, *(NOW,) * (count // 2), *(LONG,) * (count - count // 2))


@dataclass
class JobQueue:
    """The queue, its permits and its worker threads.

    Attributes:
        kinds: least urgency of the jobs for each permit.
        most: most waiting jobs.
        clock: monotonic time in seconds.
        threads: number of threads of the libraries in each worker thread; by default that of the calling thread.
    """

    kinds: Sequence[int] = field(default_factory=lambda: usual(cores()))
    most: int = MOST
    clock: Callable[[], float] = time.monotonic
    threads: int = field(default_factory=thread_count)

    def __post_init__(self) -> None:
        self._change = threading.Condition()
        self._line: list[_Place] = []
        self._free = [_Permit(least) for least in sorted(self.kinds)]
        self._held: dict[Work, _Permit] = {}
        self._begun: deque[Work] = deque()  # with a permit, for the next idle thread
        self._served: dict[str, float] = {}
        self._numbers = itertools.count()
        self._threads = self._idle = 0
        self._bound = len(self._free) + SPARE

    def join(self, work: Work, urgency: int) -> None:
        """Add a job at the end of the queue.

        Raises:
            Busy: the queue is full.
        """
        with self._change:
            if len(self._line) >= self.most:
                raise Busy(f"the server is busy, {len(self._line)} pieces of work wait", "try again in a minute")
            self._wait(work, urgency)
        self._unless_cancelled(work)

    def withdraw(self, work: Work) -> None:
        """Remove a job from the queue; one that has begun goes on without a permit and ends at its next boundary."""
        with self._change:
            place = self._place_of(work)
            if place is None:
                return
            self._line.remove(place)
        if place.go is not None:
            place.go.set()
        else:
            work.withdrawn()

    def place(self, work: Work) -> int:
        """Return a job's place in the queue, from 1; 0 if it does not wait for jobs of other owners."""
        with self._change:
            own, now = self._place_of(work), self.clock()
            if own is None or own.since > now or not self._has_company(work.owner, now):
                return 0
            return 1 + sum(p.since <= now and self._claim(p) < self._claim(own) for p in self._line)

    def _has_company(self, owner: str, now: float) -> bool:
        """Say whether a job of another owner runs or waits; jobs without an owner are the server's own."""
        working = {*self._held, *(place.work for place in self._line if place.since <= now)}
        return not {work.owner for work in working} <= {owner, ""}

    def others(self, owner: str) -> int:
        """Return the number of waiting jobs of other owners."""
        with self._change:
            now = self.clock()
            return sum(place.since <= now and place.work.owner != owner for place in self._line)

    def boundary(self, work: Work) -> None:
        """Let more urgent jobs run first, and pause while a moved knob's job runs.

        If other threads may wait for the value that this thread computes, only pause for a moment.
        """
        permit = self._held.get(work)
        if permit is None:
            return
        over = self.clock() - permit.since >= QUANTUM
        own = permit.urgency if over else permit.claim
        if own <= NOW and not over:
            return
        if computing():
            self._ease(work, permit)
            return
        with self._change:
            best = self._best(permit.least, self.clock())
            if not (self._better(best, work, own, over) or (own > NOW and self._pressing())):
                return
            self._give_back(self._held.pop(work))
            go = self._wait(work, permit.urgency, begun=True)
        self._unless_cancelled(work)
        go.wait()

    def _better(self, best: _Place | None, work: Work, own: int, over: bool) -> bool:
        """Say whether the first job in the queue comes before a running job."""
        if best is None:
            return False
        theirs = self._claim(best)[0]
        return theirs < own or (theirs == own and over and best.work.owner != work.owner)

    def asleep(self, work: Work, sleep: Callable[[], None]) -> None:
        """Sleep without a permit, and wait for the next one afterwards."""
        with self._change:
            permit = self._held.pop(work, None)
            if permit is not None:
                self._give_back(permit)
        sleep()
        if permit is None:
            return
        with self._change:
            go = self._wait(work, permit.urgency, begun=True)
        self._unless_cancelled(work)
        go.wait()

    def _wait(self, work: Work, urgency: int, after: float = 0.0, begun: bool = False) -> threading.Event:
        """Stand in line, and return what is set when work that has begun may go on."""
        due, go = self.clock() + after, threading.Event()
        self._line.append(_Place(work, urgency, due, next(self._numbers), go if begun else None))
        self._deal()
        self._change.notify_all()  # one that keeps the time may have to look earlier
        return go

    def _ease(self, work: Work, permit: _Permit) -> None:
        """Lend the permit to knobs that move, and go on without one if they take too long."""
        with self._change:
            if not self._pressing():
                return
            self._give_back(self._held.pop(work))
            self._change.wait_for(lambda: work.cancelled or not self._pressing(), EASE)
            if permit in self._free:
                self._free.remove(permit)
                self._held[work] = permit
            else:
                self._held[work] = replace(permit, extra=True)

    def _pressing(self) -> bool:
        """Say whether a knob's own work runs or waits."""
        running = any(permit.urgency <= NOW for permit in self._held.values())
        return running or any(place.urgency <= NOW and place.since <= self.clock() for place in self._line)

    def _unless_cancelled(self, work: Work) -> None:
        """Remove a job again if it was cancelled before it entered the queue."""
        if work.cancelled:
            self.withdraw(work)

    def _place_of(self, work: Work) -> _Place | None:
        return next((place for place in self._line if place.work is work), None)

    def _claim(self, place: _Place) -> tuple[int, float, int]:
        """Return the sort key of the queue: urgency including age, time of the owner's last job, order of arrival."""
        aged = place.urgency - int((self.clock() - place.since) / AGEING)
        return max(AT_ONCE, aged), self._served.get(place.work.owner, 0.0), place.number

    def _best(self, least: int, now: float) -> _Place | None:
        """Return the next job for a permit; long jobs must leave threads to short ones, and cores to a moved knob's."""
        worst = NOW if self._pressing() else LONG
        spare = self._bound - self._threads + self._idle - len(self._begun)
        able = (
            place
            for place in self._line
            if place.since <= now
            and place.urgency <= least
            and self._claim(place)[0] <= worst
            and (place.go is not None or spare > (len(self.kinds) if place.urgency >= LATER else 0))
        )
        return min(able, key=self._claim, default=None)

    def _deal(self) -> None:
        """Give the free permits to the first jobs in the queue, beginning with permits for short jobs only."""
        now = self.clock()
        for permit in sorted(self._free, key=lambda permit: permit.least):
            best = self._best(permit.least, now)
            if best is None:
                continue
            permit.urgency, permit.claim, permit.since = best.urgency, self._claim(best)[0], now
            self._free.remove(permit)
            self._line.remove(best)
            self._held[best.work] = permit
            self._served[best.work.owner] = now
            if best.go is not None:
                best.go.set()
            else:
                self._begun.append(best.work)
                if self._idle < len(self._begun) and self._threads < self._bound:
                    self._threads += 1
                    threading.Thread(target=self._work, name=f"work-{self._threads}", daemon=True).start()
                self._change.notify_all()
        if len(self._served) > 4 * self.most:
            self._served = {place.work.owner: self._served.get(place.work.owner, 0.0) for place in self._line}

    def _give_back(self, permit: _Permit) -> None:
        """Free a permit, or delete it if it was an extra one, made because another was lent for too long."""
        if not permit.extra:
            self._free.append(permit)
        self._deal()
        self._change.notify_all()  # wakes jobs that paused for it

    def _work(self) -> None:
        """Run steps of jobs in a worker thread, until the process ends."""
        begin_thread(self.threads)
        while True:
            work = self._next()
            turn = work.step()
            with self._change:
                permit = self._held.pop(work, None)  # None if the job was withdrawn while it waited
                if turn is not None:
                    self._wait(work, turn.urgency, turn.after)
                if permit is not None:
                    self._give_back(permit)
            self._unless_cancelled(work)

    def _next(self) -> Work:
        with self._change:
            self._idle += 1
            while not self._begun:
                now = self.clock()
                due = min((place.since for place in self._line if place.since > now), default=now + 60.0)
                self._change.wait(due - now)
                if not self._begun:
                    self._deal()
            self._idle -= 1
            self._change.notify()  # another one keeps the time
            return self._begun.popleft()
