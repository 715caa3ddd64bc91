"""Everything that can be wrong with what a user gives us, each told in one line: what, where, what to do.

    EsmVizError
    ├── RecipeError          the recipe's text: a key, a type, a range
    ├── CheckpointError      a weights file: unreadable, truncated, not numbers
    │   ├── LayoutError      its tensor names are not those of a vision tower we know
    │   ├── ShapeMismatch    a tensor's shape is not the base's
    │   ├── DigestMismatch   the file is not the one the recipe names
    │   └── NotFinite        a tensor of the tower holds NaN or Inf
    ├── ImagesError          proxies, validation or test images: missing, broken, wrong size
    ├── HeadError            a classification head: missing, wrong width, wrong number of classes
    ├── DeviceError          the device that was asked for is not there
    ├── NumericsError        a NaN or an impossible rank met on the way
    ├── OutOfMemory          a stage needs more memory than there is
    ├── Busy                 the server has as much work in line as it takes
    ├── ExportError          an export cannot be written
    │   └── ProofFailed      … or the file that was written is not what was on screen
    └── Cancelled            the user stopped the work
        └── SearchStopped    … of a search, and what it had found is kept

The command line prints `error: …` and returns 2 (130 for Cancelled); the studio shows the same sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

LONGEST = 1000  # characters of each part of a sentence: what it quotes may be of any length


class EsmVizError(Exception):
    """What is wrong, where, what to do: the one line that command line, studio and notebook all show."""

    def __init__(self, what: str, remedy: str, where: str = "") -> None:
        """Keep all three parts as arguments, so that the error survives the way out of another process."""
        super().__init__(what, remedy, where)
        self.what, self.remedy, self.where = what, remedy, where

    def __str__(self) -> str:
        """Return the parts that are there, in reading order, on one line that a terminal takes for text."""
        return ", ".join(plain(" ".join(part.split())) for part in (self.what, self.where, self.remedy) if part)


class RecipeError(EsmVizError):
    """The recipe itself is wrong: a key, a type or a range."""


class CheckpointError(EsmVizError):
    """A weights file cannot be read, is cut short, or holds numbers that are not finite.

    `wrong` has every file that the same reading found wrong, by model, this one first; empty where only one was read.
    """

    wrong: Mapping[str, EsmVizError] = MappingProxyType({})


class LayoutError(CheckpointError):
    """The tensor names are not those of a vision tower we know."""


class ShapeMismatch(CheckpointError):
    """A tensor's shape is not the base's; raised from headers, before a weight is read."""


class DigestMismatch(CheckpointError):
    """A file's SHA-256 is not the one the recipe names."""


class NotFinite(CheckpointError):
    """A tensor of the tower holds NaN or Inf."""


class ImagesError(EsmVizError):
    """Images are missing, broken, or not of the size the tower reads."""


class HeadError(EsmVizError):
    """A classification head is missing or does not fit the tower or the labels."""


class DeviceError(EsmVizError):
    """The device that was asked for is not there."""


class NumericsError(EsmVizError):
    """A NaN or an impossible rank was met on the way."""


class OutOfMemory(EsmVizError):
    """A stage needs more memory than the machine or its GPU has left."""


class Busy(EsmVizError):
    """The server has as much work in line as it takes."""


class ExportError(EsmVizError):
    """An export cannot be written."""


class ProofFailed(ExportError):
    """The written file is not what was on screen; `rows` are all checks, those that agree among them."""

    rows: tuple[object, ...] = ()


class Cancelled(EsmVizError):
    """The user stopped the work; nothing half-made is kept."""

    def __init__(self, what: str = "stopped", remedy: str = "start it again to go on", where: str = "") -> None:
        """Say where it stopped, if known."""
        super().__init__(what, remedy, where)


class SearchStopped(Cancelled):
    """The user stopped a search; `found` is its record up to then, None before the first trial."""

    found: object = None


def plain(text: str, most: int = LONGEST) -> str:
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
        raise type(error)(error.what, error.remedy, where) from error
