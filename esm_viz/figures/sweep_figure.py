"""A sweep: a curve over one knob, a heat map over more; a click on a point or cell uses it."""

from __future__ import annotations

from typing import Any

from esm_viz.core.records import ExpertAgreement, Sweep
from esm_viz.figures.figure_parts import Figure, with_table
from esm_viz.figures.sweep_cells import Shown, View
from esm_viz.figures.sweep_curve_figure import sweep_curve
from esm_viz.figures.sweep_map_figure import sweep_map


def sweep_figure(record: Sweep, shown: Shown | None = None) -> Figure:
    """Draw one quantity of every measured cell; with several knobs, the last one is the x axis, the others the y axis.

    Args:
        record: a sweep, complete or not.
        shown: the quantity and marked recipes; by default mean accuracy and the sweep's own recipe.
    """
    shown = shown or Shown()
    view = View(record, shown, shown.quantity if record.split else _label_free(record, shown.quantity))
    figure = sweep_curve(view) if len(record.grid) == 1 else sweep_map(view)
    return with_table(figure, *_table(record))


def _label_free(record: Sweep, wanted: str) -> str:
    """Return the quantity to show without labels: interference if it is wanted, else what cells are chosen by."""
    if wanted == "interference":
        return wanted
    headless = any(cell.agreement and cell.agreement.same is None for cell in record.cells)
    return "direction" if headless else "agreement"


def _table(record: Sweep) -> tuple[list[str], list[list[Any]]]:
    """Return the header and the rows of all measured cells' numbers, as fractions."""
    names = [name for name, _ in record.grid]
    free = [] if "alpha" in names else ["alpha"]
    scored = next((cell.evaluation for cell in record.cells if cell.evaluation), None)
    tasks = [f"accuracy, {row.task}" for row in scored.tasks] if scored else []
    kept = () if record.split else ("agreement", "mean KL", "mean direction")
    images = f"{record.split} images" if record.split else "proxies"
    measured = ["mean accuracy", "share of experts", "mean interference", *kept, *tasks, images]
    lines = []
    for point, cell in zip(record.points, record.cells, strict=True):
        if cell.reached:
            own, score = [cell.parameters.get(name) for name in free], cell.evaluation
            means = (score.mean("merged"), score.mean_normalised) if score else (None, None)
            merged = cell.interference.mean if cell.interference else None
            rows = [row.merged.accuracy for row in score.tasks] if score else []
            lines.append([*point, *own, *means, merged, *(_kept(cell.agreement) if kept else ()), *rows, record.images])
    return [*names, *free, *measured], lines


def _kept(record: ExpertAgreement | None) -> tuple[float | None, ...]:
    """Return agreement, KL and direction; None where unknown."""
    if record is None:
        return None, None, None
    same, divergence = record.same, record.divergence
    return same.accuracy if same else None, divergence.value if divergence else None, record.direction.value
