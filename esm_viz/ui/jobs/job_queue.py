"""Whose work is done next: one bounded line for everybody, and as many permits to work as there are cores.

Short work goes before long work, and people of equal claim take turns, whoever was served longest ago first. Work that
has begun gives its permit away at its next boundary when something more urgent waits, and after a second of work to
whoever waits as urgently. So one person's sweep goes on while nobody else wants anything, and a slider never waits for
it. What waits grows more urgent with time: it may be late, but it comes.
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

# All is known already; a hand on a knob waits; a first look at it; the rest of that; whatever takes long.
AT_ONCE, NOW, SOON, LATER, LONG = range(5)
AGEING = 5.0  # seconds in line that make work one step more urgent
QUANTUM = 1.0  # seconds of work until others of the same urgency come
EASE = 0.5  # seconds at most that other work stands still at each of its boundaries while a knob's own work is done
MOST = 200  # in line
SPARE = 8  # threads of work that has begun and gave its permit away


class Work(Protocol):
    """What a job is to the line."""

    owner: str

    @property
    def cancelled(self) -> bool:
        """Say whether nobody wants it any more."""

    def step(self) -> Turn | None:
        """Work until the end (None) or until the next turn."""

    def withdrawn(self) -> None:
        """Hear that no further step will come."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a piece of work asks for when it gives its thread back: how urgent its next step is, and after how long."""

    urgency: int
    after: float = 0.0


@dataclass(eq=False, slots=True)
class _Place:
    """One place in the line."""

    work: Work
    urgency: int
    since: float  # when its turn may come, in the future for what was put off
    number: int
    go: threading.Event | None = None  # of work that has begun and waits in its own thread


@dataclass(eq=False, slots=True)
class _Permit:
    """The right to work, held by one piece of work at a time."""

    least: int  # the least urgent work that may have it
    urgency: int = NOW  # of its holder
    claim: int = NOW  # with which its holder got it, for so long as a quantum
    since: float = 0.0
    extra: bool = False  # beyond the usual ones


def usual(count: int) -> tuple[int, ...]:
    """Return what so many cores' permits are for: half are kept for what people wait for, one for the instant."""
    count = max(2, count)
    return (AT_ONCE, *(NOW,) * (count // 2), *(LONG,) * (count - count // 2))


@dataclass
class Workers:
    """The line and its permits.

    Attributes:
        kinds: the least urgent work that each permit is for.
        most: places in the line.
        clock: seconds that only grow.
        threads: of the libraries, with which each worker computes what has no pieces; as who makes the line does.
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
        """Take a place at the end of the line.

        Raises:
            Busy: the line is full.
        """
        with self._change:
            if len(self._line) >= self.most:
                raise Busy(f"the server is busy, {len(self._line)} pieces of work wait", "try again in a minute")
            self._wait(work, urgency)
        self._unless_cancelled(work)

    def withdraw(self, work: Work) -> None:
        """Leave the line; what has begun goes on without a permit, to its end at the next boundary."""
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
        """Return its place in the line, the first being 1; 0 where it waits for nobody else's work, or not at all."""
        with self._change:
            own, now = self._place_of(work), self.clock()
            if own is None or own.since > now or not self._has_company(work.owner, now):
                return 0
            return 1 + sum(p.since <= now and self._claim(p) < self._claim(own) for p in self._line)

    def _has_company(self, owner: str, now: float) -> bool:
        """Say whether work of somebody else is done or waits; what has no owner is the server's own."""
        working = {*self._held, *(place.work for place in self._line if place.since <= now)}
        return not {work.owner for work in working} <= {owner, ""}

    def others(self, owner: str) -> int:
        """Return how many pieces of other people's work wait for their turn now."""
        with self._change:
            now = self.clock()
            return sum(place.since <= now and place.work.owner != owner for place in self._line)

    def boundary(self, work: Work) -> None:
        """Let go first whoever has a better claim, and stand aside while somebody's knob moves.

        While others may be waiting for what this thread is computing it only stands still, for a moment.
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
        """Say whether the first in line has a better claim than work that has begun."""
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
        """Leave the line again where somebody cancelled the work before it stood there."""
        if work.cancelled:
            self.withdraw(work)

    def _place_of(self, work: Work) -> _Place | None:
        return next((place for place in self._line if place.work is work), None)

    def _claim(self, place: _Place) -> tuple[int, float, int]:
        """Return what orders the line: urgency with age, when the person was served last, and who came first."""
        aged = place.urgency - int((self.clock() - place.since) / AGEING)
        return max(AT_ONCE, aged), self._served.get(place.work.owner, 0.0), place.number

    def _best(self, least: int, now: float) -> _Place | None:
        """Return who is next for a permit; long work leaves threads for short work, and cores to a knob that moves."""
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
        """Give the free permits to the best claims; those that are for short work alone first."""
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
        """Free a permit; one that was made because the holder's own was lent for too long is gone."""
        if not permit.extra:
            self._free.append(permit)
        self._deal()
        self._change.notify_all()  # whoever stood still for it

    def _work(self) -> None:
        """Do one step after the other, as long as the process lives."""
        begin_thread(self.threads)
        while True:
            work = self._next()
            turn = work.step()
            with self._change:
                permit = self._held.pop(work, None)  # None: it was withdrawn while it stood aside
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
