"""Whose turn it is: a few requests of one caller at once, the others in line, and no guessing of passwords."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

MOST_CALLERS = 10_000  # of whom wrong passwords are remembered


@dataclass
class _Line:
    gate: asyncio.Semaphore
    present: int = 0  # at work or waiting


class TooMany(Exception):
    """One caller asks for more at once than anybody needs."""


class Turns:
    """A line for each caller: nothing of an honest page is lost, and a flood waits for itself alone."""

    def __init__(self, at_once: int, most: int) -> None:
        """Let so many of a caller's requests work at once, and hold so many in all."""
        self.at_once, self.most = at_once, most
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for one's turn and hold it.

        Raises:
            TooMany: too many wait already.
        """
        line = self._lines.setdefault(caller, _Line(asyncio.Semaphore(self.at_once)))
        if line.present >= self.most:
            raise TooMany
        line.present += 1
        try:
            async with line.gate:
                yield
        finally:
            line.present -= 1
            if not line.present:
                self._lines.pop(caller, None)


@dataclass
class Attempts:
    """Wrong passwords by network address: after a few within a minute, the next try has to wait."""

    most: int = 10
    seconds: float = 60.0
    _wrong: dict[str, deque[float]] = field(default_factory=dict)

    def wait(self, caller: str) -> float:
        """Return the seconds until this caller may try again, 0 where it may now."""
        wrong, now = self._wrong.get(caller, deque()), time.monotonic()
        while wrong and now - wrong[0] > self.seconds:
            wrong.popleft()
        return self.seconds - (now - wrong[0]) if len(wrong) >= self.most else 0.0

    def note(self, caller: str) -> None:
        """Remember a wrong password."""
        self._wrong.setdefault(caller, deque(maxlen=self.most)).append(time.monotonic())
        while len(self._wrong) > MOST_CALLERS:
            del self._wrong[next(iter(self._wrong))]
