"""The Progress callback: long work calls it at every layer or batch, and it may raise Cancelled to stop the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Tell = Callable[[float, str], None]


def _tell_nobody(fraction: float, words: str) -> None:
    """Ignore the progress."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of one piece of work, called as `progress(fraction, words)` with a fraction in [0, 1].

    A step of a longer piece of work reports within a part of its range: `progress.part(0.2, 0.5)`.

    Attributes:
        tell: callback that gets the fraction of the whole work and a text; it raises Cancelled to stop the work.
        start, end: the part of the whole work's range that this piece fills.
        title: text before the words of this piece; empty for none.
        fixed: whether to report only the title, without the words.
    """

    tell: Tell = _tell_nobody
    start: float = 0.0
    end: float = 1.0
    title: str = ""
    fixed: bool = False

    def __call__(self, fraction: float, words: str) -> None:
        """Report that this fraction of the piece is done."""
        text = self.title if self.fixed else ", ".join(filter(None, (self.title, words)))
        self.tell(self.start + (self.end - self.start) * fraction, text)

    def part(self, start: float, end: float, title: str = "", *, fixed: bool = False) -> Progress:
        """Return the progress of one step of this work.

        Args:
            start: where the step begins in this work's range, in [0, 1].
            end: where it ends.
            title: text before the step's words.
            fixed: whether to report the title in place of the step's words.
        """
        return Progress(self, start, end, title, fixed)


NO_PROGRESS = Progress()
