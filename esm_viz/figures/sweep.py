"""A sweep: over one knob a curve with its interval and a thin line a task, over more a heat map; cells are clicked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from esm_viz.figures.base import (
    Figure,
    axis,
    cell_text,
    colour_bar,
    headed,
    inner_ring,
    label_margin,
    marked,
    percent_ticks,
    picture,
    ramp,
    ring,
    task_colour,
    token,
    with_table,
)
from esm_viz.figures.curve import MOST_LABELS, end_labels, task_end
from esm_viz.figures.interference import DECADES, TINY
from esm_viz.figures.words import counted, number, percent, safe, setting
from esm_viz.types import Sweep, SweepCell

BEST_FRAME, PINNED_FRAME = 0.88, 0.76  # of a cell
QUANTITIES = {"mean": "mean accuracy", "share": "% of experts", "interference": "interference"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a sweep's picture shows of its cells.

    Attributes:
        quantity: one of QUANTITIES, or "task"; without labels it is the interference.
        task: its index, where one task's accuracy is shown.
        now: SHA-256 of the recipe on screen, B; None marks the recipe that the sweep started from.
        pinned: that of A.
        labels: of knobs, HTML; their names in the recipe where missing.
    """

    quantity: str = "mean"
    task: int = 0
    now: str | None = None
    pinned: str = ""
    labels: Mapping[str, str] | None = None

    def label(self, name: str) -> str:
        """Return what a knob is called on an axis."""
        return (self.labels or {}).get(name, safe(name))


def sweep_figure(record: Sweep, shown: Shown = Shown()) -> Figure:
    """Draw one quantity of every cell that was reached; of several knobs the last lies across, others are listed down.

    Args:
        record: whole, or as far as it was measured.
        shown: which quantity, and what is marked.
    """
    view = _View(record, shown, "interference" if record.split is None else shown.quantity)
    figure = _curve(view) if len(record.grid) == 1 else _heat(view)
    return with_table(figure, *_table(record))


def _table(record: Sweep) -> tuple[list[str], list[list[Any]]]:
    """Return head and lines of the numbers of every cell that was reached; shares, not per cent."""
    names = [name for name, _ in record.grid]
    free = [] if "alpha" in names else ["alpha"]
    scored = next((cell.evaluation for cell in record.cells if cell.evaluation), None)
    tasks = [f"accuracy, {row.task}" for row in scored.tasks] if scored else []
    measured = ["mean accuracy", "share of experts", "mean interference", *tasks, f"{record.split or 'no'} images"]
    lines = []
    for point, cell in zip(record.points, record.cells, strict=True):
        if cell.reached:
            own, score = [cell.parameters.get(name) for name in free], cell.evaluation
            means = (score.mean("merged"), score.mean_normalised) if score else (None, None)
            merged = cell.interference.mean if cell.interference else None
            rows = [row.merged.accuracy for row in score.tasks] if score else []
            lines.append([*point, *own, *means, merged, *rows, record.images])
    return [*names, *free, *measured], lines


@dataclass(frozen=True, slots=True)
class _View:
    """A sweep with what is shown of it."""

    record: Sweep
    shown: Shown
    quantity: str

    @property
    def accurate(self) -> bool:
        """Say whether more is better: accuracies in per cent, and not the interference."""
        return self.quantity != "interference"

    def height(self, cell: SweepCell) -> float:
        """Return a cell's number, NaN where it was not reached."""
        if self.quantity == "interference":
            return cell.interference.mean if cell.interference else math.nan
        if cell.evaluation is None:
            return math.nan
        if self.quantity == "share":
            return 100 * cell.evaluation.mean_normalised
        if self.quantity == "task":
            return 100 * cell.evaluation.tasks[self.shown.task].merged.accuracy
        return 100 * cell.evaluation.mean("merged")

    def interval(self, cell: SweepCell) -> tuple[float, float] | None:
        """Return the 95 % interval of an accuracy, in per cent; None for what has none."""
        if cell.evaluation is None or self.quantity in ("share", "interference"):
            return None
        if self.quantity == "task":
            low, high = cell.evaluation.tasks[self.shown.task].merged.interval
        else:
            low, high = cell.evaluation.mean_interval("merged")
        return 100 * low, 100 * high

    def tasks(self, cell: SweepCell) -> list[float]:
        """Return the number of every task, of which the cell's is the mean."""
        if self.quantity == "interference":
            return list(cell.interference.means) if cell.interference else []
        scores = cell.evaluation.tasks if cell.evaluation else ()
        return [100 * (score.normalised if self.quantity == "share" else score.merged.accuracy) for score in scores]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the tasks."""
        first = next((cell for cell in self.record.cells if cell.reached), None)
        if first is None:
            return ()
        return first.interference.tasks if first.interference else tuple(row.task for row in first.evaluation.tasks)  # type: ignore[union-attr]

    @property
    def best(self) -> int | None:
        """Return the first best cell of what is shown; None on test images, by which nothing may be chosen."""
        heights = [self.height(cell) for cell in self.record.cells]
        known = [height for height in heights if not math.isnan(height)]
        if not known or self.record.split == "test":
            return None
        return heights.index(max(known) if self.accurate else min(known))

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
        """Return what is shown, for an axis."""
        return (
            f"accuracy, {safe(self.names[self.shown.task])}" if self.quantity == "task" else QUANTITIES[self.quantity]
        )

    @property
    def images(self) -> str:
        """Return how many images a task were read, and of which split."""
        scores = (cell.evaluation for cell in self.record.cells if cell.evaluation)
        return f"{counted(row.merged.n for score in scores for row in score.tasks)} {self.record.split} images a task"

    def how(self, first: str) -> str:
        """Return the sentence that says how to read a map, with the frames that are in it."""
        marks = [(self.now, "blue frame: B" if self.shown.now is not None else "blue frame: the recipe"),
                 (self.pinned, "dashed: A"), (self.best, "thin frame: best")]  # fmt: skip
        told = ", ".join(words for at, words in marks if at is not None)
        return f"{first} {told[0].upper()}{told[1:]}." if told else first


def _curve(view: _View) -> Figure:
    ((name, values),) = view.record.grid
    numbers = [value for value in values if not isinstance(value, str)]
    words = len(numbers) < len(values)  # then cells stand side by side, in the order of the grid
    places: list[float] = [float(at) for at in range(len(values))] if words else [float(value) for value in numbers]
    reached = [at for at, cell in enumerate(view.record.cells) if not math.isnan(view.height(cell))]
    order = sorted(reached, key=lambda at: places[at])
    cells = [view.record.cells[at] for at in order]
    shared = {
        "type": "scatter",
        "mode": "markers" if words else "lines+markers",
        "x": [places[at] for at in order],
        "customdata": [values[at] for at in order],
        "hovertemplate": "%{text}<extra></extra>",
    }
    lines: list[dict[str, Any]] = [] if view.quantity == "task" else [
        {**shared, "name": safe(task), "y": [view.tasks(cell)[at] for cell in cells],
         "line": {"color": task_colour(at), "width": 1.5}, "marker": {"size": 5, "color": task_colour(at)},
         "text": [f"<b>{safe(task)}</b> {number(view.tasks(cell)[at], 0 if view.accurate else 2)}" for cell in cells]}
        for at, task in enumerate(view.names)
    ]  # fmt: skip
    colour = task_colour(view.shown.task) if view.quantity == "task" else token("ink")
    main: dict[str, Any] = {
        **shared,
        "name": view.title,
        "y": [view.height(cell) for cell in cells],
        "line": {"color": colour, "width": 3.5},
        "marker": {"size": [13 if at == view.best else 9 for at in order], "color": colour, "opacity": 1},
        "text": [_hover(view, at) for at in order],
    }
    bounds = [bound for bound in map(view.interval, cells) if bound is not None]
    heights = [*main["y"], *(value for line in lines for value in line["y"] if not math.isnan(value))]
    named = bool(lines) and len(lines) <= MOST_LABELS
    marks = [marked(places[view.pinned], "A", pinned=True)] if view.pinned is not None else []
    label = "the recipe" if view.shown.now is None else "B"
    marks += [marked(places[view.now], label)] if view.now is not None else []
    notes = [label for mark in marks for label in mark["annotations"]]
    if view.best is not None:
        height = view.height(view.record.cells[view.best])
        notes.append(headed(places[view.best], (min(places), max(places)), f"best {_cell(view, height)}"))
    ticks = {"tickvals": places, "ticktext": [setting(value) for value in values]} if words else {}
    y = axis(f"{view.title} on {view.images.replace(' images', '<br>images')}, %",
             **percent_ticks(min([100.0, *heights, *(low for low, _ in bounds)])))  # fmt: skip
    if not view.accurate:
        y = axis("interference, mean over tasks", range=[0, 1.08 * max([1.0, *heights])])
    if named and cells:
        ends = [(task_end(at, task), view.tasks(cells[-1])[at]) for at, task in enumerate(view.names)]
        notes += end_labels([*ends, ("<b>mean</b>", view.height(cells[-1]))], y["range"])
    better = "Thick: the mean and its 95 % interval." if bounds else "Thick: the mean."
    if view.quantity == "task":
        better = "With its 95 % interval."
    return picture(
        [*_band(shared["x"], bounds, words, colour), *lines, main],
        f"{better} Click a point to use it.",
        _says(view),
        margin={"l": 72, "r": 96 if named else 16, "t": 24, "b": 44},
        xaxis=axis(view.shown.label(name), showgrid=False, **ticks),
        yaxis=y,
        shapes=[shape for mark in marks for shape in mark["shapes"]],
        annotations=notes,
        hovermode="closest",
    )


def _band(xs: Any, bounds: list[tuple[float, float]], words: bool, colour: str) -> list[dict[str, Any]]:
    """Return the interval below the lines: a band over numbers, upright bars over words; nothing without intervals."""
    if not bounds:
        return []
    common = {"type": "scatter", "hoverinfo": "skip", "showlegend": False}
    lows, highs = [low for low, _ in bounds], [high for _, high in bounds]
    if words:
        middle = [(low + high) / 2 for low, high in bounds]
        half = [(high - low) / 2 for low, high in bounds]
        bars = {"type": "data", "array": half, "color": colour, "thickness": 2, "width": 5}
        return [
            {**common, "mode": "markers", "x": xs, "y": middle, "marker": {"size": 1, "color": colour}, "error_y": bars}
        ]
    return [{**common, "mode": "lines", "x": [*xs, *xs[::-1]], "y": [*highs, *lows[::-1]], "fill": "toself",
             "fillcolor": token("line"), "line": {"width": 0}}]  # fmt: skip


def _heat(view: _View) -> Figure:
    record = view.record
    *others, (across, columns) = record.grid
    rows = [", ".join(setting(value) for value in values) for values in product(*(values for _, values in others))]
    width, count = len(columns), len(record.cells)
    heights = [view.height(cell) for cell in record.cells]
    levels = [_level(view, height) for height in heights]
    bar, low, high = _scale(view, heights)
    places = [(at % width, at // width) for at in range(count)]
    # the frame on screen comes first: the page moves it with the arrow keys
    shapes = ring(*places[view.now]) if view.now is not None else []
    shapes += inner_ring(*places[view.best], BEST_FRAME) if view.best is not None else []
    shapes += inner_ring(*places[view.pinned], PINNED_FRAME, "dash") if view.pinned is not None else []
    texts = ["" if math.isnan(height) else _cell(view, height) for height in heights]
    shares = [math.nan if level is None else (level - low) / (high - low) for level in levels]
    down = ", ".join(view.shown.label(name) for name, _ in others)
    exact = [None if math.isnan(height) else height for height in heights]
    heat = {
        "type": "heatmap",
        "x": list(range(width)),
        "y": list(range(len(rows))),
        "z": _rows(levels, width),
        "text": _rows([_hover(view, at) for at in range(count)], width),
        # what the click and the table of numbers read: the values, down and across, and the number itself
        "customdata": _rows([[*_pair(point), exact[at]] for at, point in enumerate(record.points)], width),
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "zmin": low,
        "zmax": high,
        "colorscale": ramp("seq" if view.accurate else "div"),
        "xgap": 2,
        "ygap": 2,
        "colorbar": bar,
    }
    first = f"Stronger: higher {view.title}." if view.accurate else "Blue: less interference. Orange: more."
    return picture(
        [heat, cell_text([x for x, _ in places], [y for _, y in places], texts, shares, (width + 2, len(rows)))],
        view.how(f"{first} Click a cell to use it."),
        _says(view),
        (width + 2, len(rows)),
        margin={"l": label_margin(["", *rows]), "r": 92, "t": 12, "b": 44},
        xaxis=axis(
            view.shown.label(across),
            tickvals=list(range(width)),
            ticktext=[setting(value) for value in columns],
            range=[-0.55, width - 0.45],
            showgrid=False,
        ),
        yaxis=axis(
            down,
            tickvals=list(range(len(rows))),
            ticktext=rows,
            range=[len(rows) - 0.45, -0.55],
            showgrid=False,
        ),
        shapes=shapes,
    )


def _pair(point: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return a cell's place as its row and its column."""
    *down, across = point
    return (down[0] if len(down) == 1 else ", ".join(setting(value) for value in down)), across


def _level(view: _View, height: float) -> float | None:
    """Return what is coloured, more is better: per cent, or −log10 of the interference as in its own picture."""
    if math.isnan(height):
        return None
    return height if view.accurate else -math.log10(max(height, TINY))


def _scale(view: _View, heights: list[float]) -> tuple[dict[str, Any], float, float]:
    """Return colour bar and ends of the colours: round numbers round all cells, or a decade each way round 1."""
    if not view.accurate:
        ticks = [-DECADES, 0.0, DECADES]
        return colour_bar("interference", ticks, [number(10**-tick, 1) for tick in ticks]), -DECADES, DECADES
    known = [height for height in heights if not math.isnan(height)] or [0.0]
    low = 5.0 * math.floor(min(known) / 5)
    high = max(low + 5, 5.0 * math.ceil(max(known) / 5))
    step = 5 if high - low <= 25 else 10 if high - low <= 50 else 20
    ticks = [low + at for at in range(0, int(high - low) + 1, step)]
    return colour_bar(view.title.removeprefix("% ") + ", %", ticks, [f"{tick:g}" for tick in ticks]), low, high


def _cell(view: _View, height: float) -> str:
    return number(height, 1 if view.accurate else 2)


def _hover(view: _View, at: int) -> str:
    record, cell = view.record, view.record.cells[at]
    values = zip(record.grid, record.points[at], strict=True)
    lines = ["<b>" + ", ".join(f"{view.shown.label(name)} {setting(value)}" for (name, _), value in values) + "</b>"]
    if cell.parameters.get("alpha", "search") != record.start.get("alpha") and cell.reached:
        lines.append(f"α {setting(cell.parameters.get('alpha', ''))}")
    if cell.evaluation:
        low, high = cell.evaluation.mean_interval("merged")
        interval = f"{percent(low, 1)} to {percent(high, 1)}"
        lines.append(f"accuracy {percent(cell.evaluation.mean('merged'), 1)} % ({interval})")
        if view.quantity == "task":
            lines.append(f"{safe(view.names[view.shown.task])} {percent(view.height(cell) / 100, 1)} %")
        lines.append(f"{percent(cell.evaluation.mean_normalised, 1)} % of the experts")
    if cell.interference:
        lines.append(f"interference {number(cell.interference.mean, 3)}")
    return "<br>".join(lines)


def _says(view: _View) -> str:
    record = view.record
    what = f"accuracy on {record.images} {record.split} images" if record.split else "interference, without labels"
    count = f"{record.reached} of {len(record.cells)}" if record.reached < len(record.cells) else f"{len(record.cells)}"
    said = f"{count} cells over {', '.join(name for name, _ in record.grid)}, {what}"
    if view.best is None:
        return f"{said}."
    values = zip(record.grid, record.points[view.best], strict=True)
    best = ", ".join(f"{name} {setting(value)}" for (name, _), value in values)
    height = _cell(view, view.height(record.cells[view.best]))
    return f"{said}; best {view.title} {height} at {best}."


def _rows(cells: list[Any], width: int) -> list[list[Any]]:
    return [cells[at : at + width] for at in range(0, len(cells), width)]
