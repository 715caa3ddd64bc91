"""Records of an export's proof: the comparison of the written files with what was on screen."""

from __future__ import annotations

from dataclasses import dataclass

from esm_viz.core.records.agreement_result import ExpertAgreement
from esm_viz.core.records.basic_types import Objective


@dataclass(frozen=True, slots=True)
class ProofRow:
    """One check of an export: a value on screen beside the value in the file."""

    what: str
    on_screen: str
    in_file: str

    @property
    def equal(self) -> bool:
        """Say whether both values are equal."""
        return self.on_screen == self.in_file


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One written file of an export."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ExportProof:
    """An exported model that was read again and equals what was on screen.

    Attributes:
        folder: where it was written.
        written: its files, the weights first.
        layout, layout_title: name of the weights' layout, and its title to show.
        rows: all checks. The report is written after them and is not checked.
        seconds: duration of the whole export.
        conditions: device, library versions and number of threads under which the recipe gives the same bits again.
        agreement: with the experts on proxies, as measured before the export; None without proxies.
        search_on: what α was chosen by, if the export searched it.
    """

    folder: str
    written: tuple[WrittenFile, ...]
    recipe_sha256: str
    tensors_sha256: str
    layout: str
    layout_title: str
    rows: tuple[ProofRow, ...]
    seconds: float
    conditions: str
    agreement: ExpertAgreement | None = None
    search_on: Objective | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Return the names of the written files."""
        return tuple(file.name for file in self.written)
