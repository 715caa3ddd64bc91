"""How far a long piece of work is, told at every layer or batch; where it is told, the work can be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Tell = Callable[[float, str], None]


def _tell_nobody(fraction: float, words: str) -> None:
    """Ignore the progress."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of one piece of work, called as `progress(fraction, words)` with a fraction in [0, 1].

    A piece of work inside a longer one gets a part of the longer one's range: `progress.part(0.2, 0.5)`.

    Attributes:
        tell: gets the fraction of the whole work, and what is being done; raises Cancelled to stop the work.
        start, end: the part of the whole work's range that this piece fills.
        title: of this piece, before its words; empty for none.
        fixed: whether only the title is told, not the words.
    """

    tell: Tell = _tell_nobody
    start: float = 0.0
    end: float = 1.0
    title: str = ""
    fixed: bool = False

    def __call__(self, fraction: float, words: str) -> None:
        """Tell how far this piece is."""
        told = self.title if self.fixed else ", ".join(filter(None, (self.title, words)))
        self.tell(self.start + (self.end - self.start) * fraction, told)

    def part(self, start: float, end: float, title: str = "", *, fixed: bool = False) -> Progress:
        """Return the progress of a piece of this work.

        Args:
            start: where the piece begins in this work's range, in [0, 1].
            end: where it ends there.
            title: of the piece, told before its words.
            fixed: tell the title in place of the piece's words.
        """
        return Progress(self, start, end, title, fixed)


NO_PROGRESS = Progress()
