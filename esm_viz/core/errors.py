"""Everything that can be wrong with what a user gives us, each told in one line: what, where, what to do.

    class                    kind
    EsmVizError              error
    ├── RecipeError          recipe           the recipe's text: a key, a type, a range
    ├── CheckpointError      checkpoint       a weights file: unreadable, truncated, not numbers
    │   ├── LayoutError      layout           its tensor names are not those of a vision tower we know
    │   ├── ShapeMismatch    shape-mismatch   a tensor's shape is not the base's
    │   ├── DigestMismatch   digest-mismatch  the file is not the one the recipe names
    │   └── NotFinite        not-finite       a tensor of the tower holds NaN or Inf
    ├── ImagesError          images           proxies, validation or test images: missing, broken, wrong size
    ├── HeadError            head             a classification head: missing, wrong width, wrong number of classes
    ├── DeviceError          device           the device that was asked for is not there
    ├── NumericsError        numerics         a NaN or an impossible rank met on the way
    ├── OutOfMemory          out-of-memory    a stage needs more memory than there is
    ├── Busy                 busy             the server has as much work in line as it takes
    ├── ExportError          export           an export cannot be written
    │   └── ProofFailed      proof-failed     … or the file that was written is not what was on screen
    └── Cancelled            cancelled        the user stopped the work
        └── SearchStopped    search-stopped   … of a search, and what it had found is kept

Two kinds are finer than a class: `lora` (of LayoutError: a LoRA adapter instead of a model) and `runs-code` (of
CheckpointError and HeadError: a pickled file that asks to run a program).

Sentences are for people and may be rewritten. Code decides by class or kind alone, never by the words.
The command line prints `error: …` and returns 2 (130 for Cancelled); the studio shows the same sentence.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Self

LONGEST = 1000  # characters of each part of a sentence: what it quotes may be of any length
LORA = "lora"
RUNS_CODE = "runs-code"


class EsmVizError(Exception):
    """What is wrong, where, what to do: the one line that command line, studio and notebook all show.

    Attributes:
        kind: a short word that stays when sentences are rewritten, for code to decide by.
        subject: the model or thing that it is about, before `what`; "" where the sentence says it.
        what, where, remedy: the parts of the sentence.
    """

    kind: str = "error"

    def __init__(self, what: str, remedy: str, where: str = "", *, kind: str = "", subject: str = "") -> None:
        """Keep the sentence as arguments and the rest as attributes, so that all survives the way between processes.

        Args:
            what: is wrong.
            remedy: what to do.
            where: the file, model or layer, if known.
            kind: finer than the class's; "" for the class's.
            subject: whose error it is, by the name people know.
        """
        super().__init__(what, remedy, where)
        self.what, self.remedy, self.where, self.subject = what, remedy, where, subject
        if kind:
            self.kind = kind

    def __str__(self) -> str:
        """Return the parts that are there, in reading order, on one line that a terminal takes for text."""
        what = f"{self.subject}: {self.what}" if self.subject else self.what
        return ", ".join(one_line(" ".join(part.split())) for part in (what, self.where, self.remedy) if part)

    def placed(self, where: str, subject: str = "") -> Self:
        """Return this error with its place, and all else that it holds; an own subject stays where none is given."""
        found = copy.copy(self)
        found.args = (self.what, self.remedy, where)
        found.where, found.subject = where, subject or self.subject
        return found


class RecipeError(EsmVizError):
    """The recipe itself is wrong: a key, a type or a range."""

    kind = "recipe"


class CheckpointError(EsmVizError):
    """A weights file cannot be read, is cut short, or holds numbers that are not finite.

    `wrong` has every file that the same reading found wrong, by model, this one first; empty where only one was read.
    """

    kind = "checkpoint"
    wrong: Mapping[str, EsmVizError] = MappingProxyType({})


class LayoutError(CheckpointError):
    """The tensor names are not those of a vision tower we know."""

    kind = "layout"


class ShapeMismatch(CheckpointError):
    """A tensor's shape is not the base's; raised from headers, before a weight is read."""

    kind = "shape-mismatch"


class DigestMismatch(CheckpointError):
    """A file's SHA-256 is not the one the recipe names."""

    kind = "digest-mismatch"


class NotFinite(CheckpointError):
    """A tensor of the tower holds NaN or Inf."""

    kind = "not-finite"


class ImagesError(EsmVizError):
    """Images are missing, broken, or not of the size the tower reads."""

    kind = "images"


class HeadError(EsmVizError):
    """A classification head is missing or does not fit the tower or the labels."""

    kind = "head"


class DeviceError(EsmVizError):
    """The device that was asked for is not there."""

    kind = "device"


class NumericsError(EsmVizError):
    """A NaN or an impossible rank was met on the way."""

    kind = "numerics"


class OutOfMemory(EsmVizError):
    """A stage needs more memory than the machine or its GPU has left."""

    kind = "out-of-memory"


class Busy(EsmVizError):
    """The server has as much work in line as it takes."""

    kind = "busy"


class ExportError(EsmVizError):
    """An export cannot be written."""

    kind = "export"


class ProofFailed(ExportError):
    """The written file is not what was on screen; `rows` are all checks, those that agree among them."""

    kind = "proof-failed"
    rows: tuple[object, ...] = ()


class Cancelled(EsmVizError):
    """The user stopped the work; nothing half-made is kept."""

    kind = "cancelled"

    def __init__(
        self,
        what: str = "stopped",
        remedy: str = "start it again to go on",
        where: str = "",
        *,
        kind: str = "",
        subject: str = "",
    ) -> None:
        """Say where it stopped, if known."""
        super().__init__(what, remedy, where, kind=kind, subject=subject)


class SearchStopped(Cancelled):
    """The user stopped a search; `found` is its record up to then, None before the first trial."""

    kind = "search-stopped"
    found: object = None


def one_line(text: str, most: int = LONGEST) -> str:
    """Write out what would steer a terminal or turn the reading direction, and leave the end of a long text away."""
    cut = text if len(text) <= most else f"{text[:most]}…"
    return cut if cut.isprintable() else "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in cut)


@contextmanager
def located(where: str) -> Iterator[None]:
    """Add the place to an error from below that does not know it."""
    try:
        yield
    except EsmVizError as error:
        if error.where:
            raise
        raise error.placed(where) from error
