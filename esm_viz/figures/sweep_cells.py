"""The cells of a sweep for one shown quantity: values, intervals, texts and marked cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from esm_viz.core.records import ExpertAgreement, Sweep, SweepCell
from esm_viz.figures.number_format import counted, number, percent, safe, setting

QUANTITIES = {"mean": "mean accuracy", "share": "accuracy ÷ expert’s", "interference": "interference"}
LABEL_FREE = {"agreement": "agreement with the experts", "direction": "feature direction, × 100"}
"""What a sweep shows without labels: shares of the expert's predictions on proxies or, without heads, the direction."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Settings of a sweep's figure.

    Attributes:
        quantity: one of QUANTITIES, or "task"; without labels, one of LABEL_FREE or interference is shown.
        task: index of the task for "task".
        now: SHA-256 of the recipe on screen, B; None to mark the recipe that the sweep started from.
        pinned: SHA-256 of A's recipe.
        labels: labels of knobs as HTML; their names in the recipe if missing.
    """

    quantity: str = "mean"
    task: int = 0
    now: str | None = None
    pinned: str = ""
    labels: Mapping[str, str] | None = None

    def label(self, name: str) -> str:
        """Return the label of a knob on an axis."""
        return (self.labels or {}).get(name, safe(name))


@dataclass(frozen=True, slots=True)
class View:
    """A sweep with the settings of its figure."""

    record: Sweep
    shown: Shown
    quantity: str

    @property
    def accurate(self) -> bool:
        """Say whether a per cent is shown, where larger is better, and not interference."""
        return self.quantity != "interference"

    def height(self, cell: SweepCell) -> float:
        """Return a cell's value; NaN if it was not measured."""
        if self.quantity == "interference":
            return cell.interference.mean if cell.interference else math.nan
        if self.quantity in LABEL_FREE:
            return self._kept(cell.agreement, None)
        if cell.evaluation is None:
            return math.nan
        if self.quantity == "share":
            return 100 * cell.evaluation.mean_normalised
        if self.quantity == "task":
            return 100 * cell.evaluation.tasks[self.shown.task].merged.accuracy
        return 100 * cell.evaluation.mean("merged")

    def interval(self, cell: SweepCell) -> tuple[float, float] | None:
        """Return the 95 % interval of a cell's value, in per cent; None if the quantity has none."""
        if self.quantity in LABEL_FREE and cell.agreement is not None:
            kept = cell.agreement
            low, high = kept.same.interval if kept.same else (kept.direction.low, kept.direction.high)
            return 100 * low, 100 * high
        if cell.evaluation is None or self.quantity in ("share", "interference"):
            return None
        if self.quantity == "task":
            low, high = cell.evaluation.tasks[self.shown.task].merged.interval
        else:
            low, high = cell.evaluation.mean_interval("merged")
        return 100 * low, 100 * high

    def tasks(self, cell: SweepCell) -> list[float]:
        """Return the value of every task; the cell's value is their mean."""
        if self.quantity == "interference":
            return list(cell.interference.means) if cell.interference else []
        if self.quantity in LABEL_FREE:
            return [self._kept(cell.agreement, at) for at in range(len(cell.agreement.tasks if cell.agreement else ()))]
        scores = cell.evaluation.tasks if cell.evaluation else ()
        return [100 * (score.normalised if self.quantity == "share" else score.merged.accuracy) for score in scores]

    def _kept(self, record: ExpertAgreement | None, at: int | None) -> float:
        """Return the agreement of a task, or of all (None), in per cent, or the feature direction times 100."""
        if record is None:
            return math.nan
        row = record if at is None else record.tasks[at]
        if self.quantity == "agreement" and row.same is not None:
            return 100 * row.same.accuracy
        return 100 * row.direction.value

    @property
    def names(self) -> tuple[str, ...]:
        """Return the tasks."""
        first = next((cell for cell in self.record.cells if cell.reached), None)
        if first is None:
            return ()
        rows = first.evaluation.tasks if first.evaluation else first.agreement.tasks if first.agreement else ()
        return first.interference.tasks if first.interference else tuple(row.task for row in rows)

    @property
    def best(self) -> int | None:
        """Return the first cell with the best value; None on test images, since knobs must not be chosen by them."""
        heights = [self.height(cell) for cell in self.record.cells]
        known = [height for height in heights if not math.isnan(height)]
        if not known or self.record.search_on is None or self.quantity == "interference":
            return None  # interference measures no merge's quality (METHOD, choosing without labels)
        if self.quantity in LABEL_FREE:
            return self.record.best  # chosen by KL, which agreement follows in steps
        return heights.index(max(known))

    @property
    def now(self) -> int | None:
        """Return the cell of the recipe on screen."""
        return self.record.baseline if self.shown.now is None else self._cell(self.shown.now)

    @property
    def pinned(self) -> int | None:
        """Return A's cell."""
        return self._cell(self.shown.pinned) if self.shown.pinned else None

    def _cell(self, sha256: str) -> int | None:
        found = (at for at, cell in enumerate(self.record.cells) if cell.reached and cell.recipe_sha256 == sha256)
        return next(found, None)

    @property
    def title(self) -> str:
        """Return the name of the shown quantity."""
        if self.quantity == "task":
            return f"accuracy, {safe(self.names[self.shown.task])}"
        return (QUANTITIES | LABEL_FREE)[self.quantity]

    @property
    def images(self) -> str:
        """Return the number of images per task and what they are, as text."""
        if self.record.split is None:
            kept = (cell.agreement for cell in self.record.cells if cell.agreement)
            return f"{counted(row.n for record in kept for row in record.tasks)} proxies a task"
        scores = (cell.evaluation for cell in self.record.cells if cell.evaluation)
        return f"{counted(row.merged.n for score in scores for row in score.tasks)} {self.record.split} images a task"

    def how(self, first: str) -> str:
        """Return the sentence on how to read a map, with the frames that it has."""
        marks = [(self.now, "blue frame: B" if self.shown.now is not None else "blue frame: the recipe"),
                 (self.pinned, "dashed: A"), (self.best, "thin frame: best")]  # fmt: skip
        told = ", ".join(words for at, words in marks if at is not None)
        return f"{first} {told[0].upper()}{told[1:]}." if told else first

    def text(self, height: float) -> str:
        """Write a cell's number."""
        return number(height, 1 if self.accurate else 2)

    def hover(self, at: int) -> str:
        """Return the hover text of a cell."""
        record, cell = self.record, self.record.cells[at]
        values = zip(record.grid, record.points[at], strict=True)
        lines = [
            "<b>" + ", ".join(f"{self.shown.label(name)} {setting(value)}" for (name, _), value in values) + "</b>"
        ]
        if cell.parameters.get("alpha", "search") != record.start.get("alpha") and cell.reached:
            lines.append(f"α {setting(cell.parameters.get('alpha', ''))}")
        if cell.evaluation:
            low, high = cell.evaluation.mean_interval("merged")
            interval = f"{percent(low, 1)} to {percent(high, 1)}"
            lines.append(f"accuracy {percent(cell.evaluation.mean('merged'), 1)} % ({interval})")
            if self.quantity == "task":
                lines.append(f"{safe(self.names[self.shown.task])} {percent(self.height(cell) / 100, 1)} %")
            lines.append(f"{percent(cell.evaluation.mean_normalised, 1)} % of the experts")
        if cell.agreement:
            kept = cell.agreement
            lines += [f"agreement {percent(kept.same.accuracy, 1)} % of {kept.images} proxies"] if kept.same else []
            lines += [f"KL {number(kept.divergence.value, 3)}"] if kept.divergence else []
            lines.append(f"feature direction {number(kept.direction.value, 3)}")
        if cell.interference:
            lines.append(f"interference {number(cell.interference.mean, 3)}")
        return "<br>".join(lines)

    @property
    def says(self) -> str:
        """Return a sentence on what the figure shows."""
        record = self.record
        what = f"accuracy on {record.images} {record.split} images"
        if record.split is None:
            what = f"{self.title} on {record.images} unlabelled proxies"
        count = (
            f"{record.reached} of {len(record.cells)}" if record.reached < len(record.cells) else f"{len(record.cells)}"
        )
        said = f"{count} cells over {', '.join(name for name, _ in record.grid)}, {what}"
        if self.best is None:
            return f"{said}."
        values = zip(record.grid, record.points[self.best], strict=True)
        best = ", ".join(f"{name} {setting(value)}" for (name, _), value in values)
        height = self.text(self.height(record.cells[self.best]))
        return f"{said}; best {self.title} {height} at {best}."
