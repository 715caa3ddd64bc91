"""The error classes: each error says in one line what is wrong, where, and what to do.

    class                    kind
    EsmVizError              error
    ├── RecipeError          recipe           the recipe's text: a key, a type, a range
    ├── CheckpointError      checkpoint       a weights file: unreadable, truncated, not numbers
    │   ├── LayoutError      layout           its tensor names are those of no known vision tower
    │   ├── ShapeMismatch    shape-mismatch   a tensor's shape is not the base's
    │   ├── DigestMismatch   digest-mismatch  its SHA-256 is not the one in the recipe
    │   └── NotFinite        not-finite       a tensor of the tower holds NaN or Inf
    ├── HubError             hub              a name on a hub: wrong, not there, not allowed, not downloaded
    │   ├── HubUnreachable   hub-unreachable  there is no way to it: no network, or it is switched off
    │   ├── NoRevision       no-revision      the repository has no such branch, tag or commit
    │   └── Unconfirmed      unconfirmed      the download is so large that it must be confirmed
    ├── ImagesError          images           proxies, validation or test images: missing, broken, wrong size
    ├── HeadError            head             a classification head: missing, wrong width, wrong number of classes
    ├── DeviceError          device           the requested device is not available
    ├── NumericsError        numerics         a computation met a NaN or an impossible rank
    ├── OutOfMemory          out-of-memory    a stage needs more memory than is available
    ├── Busy                 busy             the server's queue is full
    ├── ExportError          export           an export cannot be written
    │   └── ProofFailed      proof-failed     the written file differs from what was on screen
    └── Cancelled            cancelled        the user stopped the work
        └── SearchStopped    search-stopped   the user stopped a search; what it had found is kept

Two kinds are narrower than their class: `lora` (a LayoutError: an adapter that cannot be used) and `runs-code` (a
CheckpointError or HeadError: loading the pickled file would run code).

The sentences are for people and may be rewritten. Code must look at the class or the kind, never at the words.
The command line prints `error: …` and returns 2 (130 for Cancelled); the studio shows the same sentence.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Self

LONGEST = 1000  # characters of each part of a sentence, since quoted text may be of any length
LORA = "lora"
RUNS_CODE = "runs-code"


class EsmVizError(Exception):
    """An error that the command line, the studio and a notebook show as the same one line.

    Attributes:
        kind: a short name for code to look at; it does not change when sentences are rewritten.
        subject: the model or thing that the error is about, written before `what`; "" if the sentence names it.
        what, where, remedy: the parts of the sentence: what is wrong, where, what to do.
    """

    kind: str = "error"

    def __init__(self, what: str, remedy: str, where: str = "", *, kind: str = "", subject: str = "") -> None:
        """Keep the sentence in `args` and the rest as attributes, so that the error can be pickled.

        Args:
            what: what is wrong.
            remedy: what to do.
            where: the file, model or layer, if known.
            kind: a kind narrower than the class's; "" for the class's own.
            subject: name of the model or thing that the error is about.
        """
        super().__init__(what, remedy, where)
        self.what, self.remedy, self.where, self.subject = what, remedy, where, subject
        if kind:
            self.kind = kind

    def __str__(self) -> str:
        """Return the non-empty parts on one line, without control characters."""
        what = f"{self.subject}: {self.what}" if self.subject else self.what
        return ", ".join(one_line(" ".join(part.split())) for part in (what, self.where, self.remedy) if part)

    def placed(self, where: str, subject: str = "") -> Self:
        """Return a copy of this error with a place; `subject` replaces the error's own only if it is not empty."""
        found = copy.copy(self)
        found.args = (self.what, self.remedy, where)
        found.where, found.subject = where, subject or self.subject
        return found


class RecipeError(EsmVizError):
    """The recipe itself is wrong: a key, a type or a range."""

    kind = "recipe"


class CheckpointError(EsmVizError):
    """A weights file cannot be read, is cut short, or holds numbers that are not finite.

    `wrong` maps model names to the errors of all files that the same call found wrong, this error first. It is empty
    if only one file was read.
    """

    kind = "checkpoint"
    wrong: Mapping[str, EsmVizError] = MappingProxyType({})


class LayoutError(CheckpointError):
    """The tensor names are those of no known vision tower."""

    kind = "layout"


class ShapeMismatch(CheckpointError):
    """A tensor's shape is not the base's; raised from the header, before any weights are read."""

    kind = "shape-mismatch"


class DigestMismatch(CheckpointError):
    """A file's SHA-256 is not the one in the recipe."""

    kind = "digest-mismatch"


class NotFinite(CheckpointError):
    """A tensor of the tower holds NaN or Inf."""

    kind = "not-finite"


class HubError(EsmVizError):
    """A name on a hub is wrong, cannot be reached, or its files cannot be downloaded."""

    kind = "hub"


class HubUnreachable(HubError):
    """A hub cannot be asked, so what the cache has may still be used."""

    kind = "hub-unreachable"


class NoRevision(HubError):
    """A repository has no such branch, tag or commit."""

    kind = "no-revision"


class Unconfirmed(HubError):
    """A download is so large that it must be confirmed; `size` is what is missing, in bytes."""

    kind = "unconfirmed"
    size: int = 0


class ImagesError(EsmVizError):
    """Images are missing, broken, or not of the size the tower reads."""

    kind = "images"


class HeadError(EsmVizError):
    """A classification head is missing or does not fit the tower or the labels."""

    kind = "head"


class DeviceError(EsmVizError):
    """The requested device is not available."""

    kind = "device"


class NumericsError(EsmVizError):
    """A computation met a NaN or an impossible rank."""

    kind = "numerics"


class OutOfMemory(EsmVizError):
    """A stage needs more memory than the machine or its GPU has left."""

    kind = "out-of-memory"


class Busy(EsmVizError):
    """The server's queue is full."""

    kind = "busy"


class ExportError(EsmVizError):
    """An export cannot be written."""

    kind = "export"


class ProofFailed(ExportError):
    """The written file differs from what was on screen; `rows` holds all checks, also those that passed."""

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
    """The user stopped a search; `found` is the record so far, None before the first trial."""

    kind = "search-stopped"
    found: object = None


def one_line(text: str, most: int = LONGEST) -> str:
    """Cut a text to `most` characters, and escape line breaks, control characters and text-direction marks."""
    cut = text if len(text) <= most else f"{text[:most]}…"
    return cut if cut.isprintable() else "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in cut)


@contextmanager
def located(where: str) -> Iterator[None]:
    """Add `where` to any EsmVizError raised in the block that does not have a place yet."""
    try:
        yield
    except EsmVizError as error:
        if error.where:
            raise
        raise error.placed(where) from error
