"""What an export proves of its files."""

from __future__ import annotations

from dataclasses import dataclass, field


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
class ExportProof:
    """A written model, read again and found to be what was on screen."""

    folder: str
    files: tuple[str, ...]
    recipe_sha256: str
    tensors_sha256: str
    file_sha256: str
    rows: tuple[ProofRow, ...] = field(default=())
