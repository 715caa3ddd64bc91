"""Rate limits: a caller's concurrent requests are queued, and wrong passwords are slowed down."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

MOST_CALLERS = 10_000  # whose wrong passwords are remembered


@dataclass
class _Line:
    gate: asyncio.Semaphore
    present: int = 0  # requests running or waiting


class TooManyRequests(Exception):
    """A caller has too many requests waiting."""


class RequestQueues:
    """A queue for each caller, so that a flood of requests delays only its own caller."""

    def __init__(self, at_once: int, most: int) -> None:
        """Let `at_once` of a caller's requests run concurrently, and at most `most` run or wait."""
        self.at_once, self.most = at_once, most
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait until a request of this caller may run, and count it as running inside the block.

        Raises:
            TooMany: too many of the caller's requests are running or waiting.
        """
        line = self._lines.setdefault(caller, _Line(asyncio.Semaphore(self.at_once)))
        if line.present >= self.most:
            raise TooManyRequests
        line.present += 1
        try:
            async with line.gate:
                yield
        finally:
            line.present -= 1
            if not line.present:
                self._lines.pop(caller, None)


@dataclass
class PasswordAttempts:
    """Wrong passwords by network address: after a few within a minute, further attempts must wait."""

    most: int = 10
    seconds: float = 60.0
    _wrong: dict[str, deque[float]] = field(default_factory=dict)

    def wait(self, caller: str) -> float:
        """Return the seconds until this caller may try again; 0 for now."""
        wrong, now = self._wrong.get(caller, deque()), time.monotonic()
        while wrong and now - wrong[0] > self.seconds:
            wrong.popleft()
        return self.seconds - (now - wrong[0]) if len(wrong) >= self.most else 0.0

    def note(self, caller: str) -> None:
        """Count a wrong password."""
        self._wrong.setdefault(caller, deque(maxlen=self.most)).append(time.monotonic())
        while len(self._wrong) > MOST_CALLERS:
            del self._wrong[next(iter(self._wrong))]
