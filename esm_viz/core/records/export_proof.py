"""What an export proves of its files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProofRow:
    """One check of the export: what was on screen, what is in the file."""

    what: str
    on_screen: str
    in_file: str

    @property
    def equal(self) -> bool:
        """Say whether both sides agree."""
        return self.on_screen == self.in_file


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file of an export, as it lies there."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ExportProof:
    """A written model, read again and found to be what was on screen.

    Attributes:
        folder: where it was written.
        written: its files, the weights first.
        layout: name of the way in which the weights name their tensors.
        rows: every check; a report of the export is written after them and is in none.
        seconds: that all of it took.
    """

    folder: str
    written: tuple[WrittenFile, ...]
    recipe_sha256: str
    tensors_sha256: str
    layout: str
    rows: tuple[ProofRow, ...]
    seconds: float

    @property
    def files(self) -> tuple[str, ...]:
        """Return their names."""
        return tuple(file.name for file in self.written)
