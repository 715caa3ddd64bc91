"""Parts that all figures share: colours, task labels, axes, and the order of layers from input to output.

A figure is a plain dict, `{"data": […], "layout": {…}}`, which is fast to send while a slider moves; plotly's
`go.Figure` accepts it. Colours are names of style tokens (`var(--task-1)`): the page resolves them in its theme, and
`paint` in `colour_theme.py` does so for files. `layout.meta` has `how` (how to read the figure), `says` (what it shows
now), and data about the marks for the page's scripts:

- the task of each mark, so that hovering a task highlights it in all figures: `layout.meta.rows` has the tasks of the
  rows y = 0, 1, … (with `square` also of the columns), and a trace's `meta.tasks` or an annotation's `name` its tasks;
- the names of the numbers in the table view: `layout.meta.names` has the columns of `customdata` and the value, or
  `layout.meta.table` is the whole table with a header row. Without both, the titles of the axes are used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from esm_viz.core.records import Layer, families_of
from esm_viz.figures.number_format import safe

Figure = dict[str, Any]

TICK = 13  # px, ticks and axis titles
LABEL = 14  # px, labels in the plot
DEEP = 12  # blocks; in deeper towers, not every block has a tick
GAP = 0.6  # between families, in widths of a column
GLYPHS = "●■▲◆▼★✚⬟○□△◇▽☆✛⬠⊙⊡◬◈"
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "star", "cross", "pentagon")
FONT = "Inter, system-ui, Segoe UI, Roboto, Noto Sans, DejaVu Sans, sans-serif"
CONTRAST_DARK, CONTRAST_LIGHT = "#0b0f14", "#ffffff"


def token(name: str) -> str:
    """Return a style token as CSS writes it."""
    return f"var(--{name})"


def task_colour(index: int) -> str:
    """Return the colour of the task with this index in the recipe."""
    return token(f"task-{index % len(GLYPHS) + 1}")


def task_glyph(index: int) -> str:
    """Return the symbol that goes with the task's colour, for people who cannot distinguish colours."""
    return GLYPHS[index % len(GLYPHS)]


def task_symbol(index: int) -> str:
    """Return plotly's name of a task's symbol: eight shapes, then the same hollow, then with a dot."""
    at = index % len(GLYPHS)
    return SYMBOLS[at % len(SYMBOLS)] + ("", "-open", "-open-dot")[at // len(SYMBOLS)]


def task_labels(tasks: Sequence[str]) -> list[str]:
    """Return the tasks' names with their symbols, as ticks of a y axis."""
    return [f'{safe(name)} <span style="color:{task_colour(i)}">{task_glyph(i)}</span>' for i, name in enumerate(tasks)]


def ramp(kind: str) -> list[list[Any]]:
    """Return a colour scale of seven tokens, `seq` or `div`."""
    return [[i / 6, token(f"{kind}-{i}")] for i in range(7)]


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """Return an axis in the common style, with a title that includes the unit."""
    font = {"size": TICK, "color": token("ink-2")}
    return {
        "title": {"text": title, "font": font, "standoff": 6},
        "tickfont": font,
        "gridcolor": token("grid"),
        "linecolor": token("line-strong"),
        "zeroline": False,
        "ticks": "",
        "automargin": False,
        **more,
    }


def percent_ticks(lowest: float) -> dict[str, Any]:
    """Return range and ticks of an axis in per cent that ends at 100 and starts at a round number below `lowest`."""
    floor = max(0.0, 10 * (lowest // 10))
    step = 5 if 100 - floor <= 20 else 10 if 100 - floor <= 40 else 20
    return {"range": [floor, 101], "tickvals": list(range(int(floor), 101, step))}


def task_axis(tasks: Sequence[str], **more: Any) -> dict[str, Any]:
    """Return the y axis that lists tasks from the top down."""
    low, high = more.pop("above", 0.5), len(tasks) - 0.5
    return axis(
        tickvals=list(range(len(tasks))),
        ticktext=task_labels(tasks),
        range=[high, -low],
        showgrid=False,
        fixedrange=True,
        **more,
    )


def label_margin(tasks: Iterable[str]) -> int:
    """Return the left margin, px, that the longest task name needs."""
    longest = max((len(name) for name in tasks), default=0)
    return int(min(150, max(64, 34 + 7.4 * longest)))


def note(x: float, y: float, text: str, **more: Any) -> dict[str, Any]:
    """Return a label without an arrow."""
    font = {"size": more.pop("size", TICK), "color": more.pop("color", token("ink-2"))}
    return {"x": x, "y": y, "text": text, "showarrow": False, "font": font, **more}


def spread_out(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions of labels near these values: in the same order, `gap` apart, between low and high.

    If they do not all fit, the highest ones are above `high`.
    """
    places = [0.0] * len(values)
    above = high + gap
    room = gap * (len(values) - 1)
    for at in sorted(range(len(values)), key=lambda i: -values[i]):
        places[at] = above = max(min(values[at], above - gap), low + room)
        room -= gap
    return places


def marked(x: float, text: str, pinned: bool = False, side: str = "right") -> dict[str, Any]:
    """Return a vertical line at a value of the x axis with its label, as parts of a layout.

    Args:
        x: the value.
        text: text of the label.
        pinned: True for a reference, which is grey and dashed with a higher label; False for the current value.
        side: of the line, on which the label stands.
    """
    colour = token("ref" if pinned else "accent")
    line = {"color": colour, "width": 2, "dash": "dash" if pinned else "solid"}
    label = note(
        x,
        0.14 if pinned else 0.03,
        f"<b>{text}</b>",
        yref="paper",
        xanchor="left" if side == "right" else "right",
        yanchor="bottom",
        xshift=6 if side == "right" else -6,
        color=colour,
        size=LABEL,
    )
    upright = {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": line}
    return {"shapes": [upright], "annotations": [label]}


def picture(
    data: list[dict[str, Any]],
    how: str,
    says: str,
    grid: tuple[int, int] = (0, 0),
    rows: Sequence[str] = (),
    square: bool = False,
    names: Sequence[str] = (),
    table: Sequence[Sequence[Any]] = (),
    layers: Sequence[Layer] = (),
    shown: str = "",
    **layout: Any,
) -> Figure:
    """Return a figure with the common layout.

    Args:
        data: plotly traces.
        how: one sentence on how to read it.
        says: what it shows now.
        grid: numbers of columns and rows, for which the page makes room.
        rows: tasks of the rows y = 0, 1, …
        square: whether the columns x = 0, 1, … are the same tasks.
        names: names of the items of `customdata` and of the value in the table view.
        table: the numbers as a table with a header row, if the traces do not give a good one.
        layers: layers whose names are in `customdata`; the table view shows their labels, with blocks from 1.
        shown: what stands under the picture, where `says` would be too long for that.
        **layout: parts of plotly's layout.
    """
    meta: dict[str, Any] = {"how": how, "says": says, "grid": list(grid)}
    told = {
        "rows": list(rows),
        "square": square,
        "names": list(names),
        "table": [list(row) for row in table],
        "shown": shown,
    }
    meta |= {key: value for key, value in told.items() if value}
    if layers:
        meta["labels"] = {layer.name: layer.label for layer in layers}
    base = {
        "font": {"family": FONT, "size": TICK, "color": token("ink-2")},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 64, "r": 16, "t": 10, "b": 44},
        "showlegend": False,
        "dragmode": "zoom",
        "hoverlabel": {
            "bgcolor": token("ink"),
            "bordercolor": token("ink"),
            "font": {"family": FONT, "size": LABEL, "color": token("panel")},
            "align": "left",
        },
        "meta": meta,
        "uirevision": "keep",
    }
    return {"data": data, "layout": base | layout}


def colour_bar(title: str, values: Sequence[float], texts: Sequence[str]) -> dict[str, Any]:
    """Return a thin colour bar with its unit."""
    font = {"size": TICK, "color": token("ink-2")}
    return {
        "title": {"text": title, "side": "right", "font": font},
        "tickfont": font,
        "tickvals": list(values),
        "ticktext": list(texts),
        "thickness": 12,
        "len": 1,
        "lenmode": "fraction",
        "outlinewidth": 0,
        "x": 1.012,
        "xpad": 0,
        "ypad": 0,
    }


def _ticks(count: int, most: int) -> list[int]:
    """Return the indices of blocks with a tick: about `most` of `count`, including the first and the last."""
    last = count - 1
    if count > DEEP:
        step = next(step for step in (6, 12, 24, 48, count) if count / step < most)
        return [0, *(k for k in range(step - 1, last, step) if last - k > step / 2), last]
    step = math.ceil(count / most)
    kept = [k for k in range(0, last + 1, step) if last - k >= step or k == last]
    return list(dict.fromkeys([*kept, last]))


@dataclass(frozen=True, slots=True)
class Columns:
    """The places of layers on the x axis: families side by side, blocks from input to output."""

    layers: tuple[Layer, ...]
    places: tuple[float, ...]  # in the order of the layers
    families: tuple[tuple[str, tuple[int, ...]], ...]  # name, indices into layers from the first block to the last

    @classmethod
    def of(cls, layers: Sequence[Layer]) -> Columns:
        """Order layers by family and block."""
        places, families, start = [0.0] * len(layers), [], 1.0
        for family in families_of(layers):
            members = sorted(
                (i for i, layer in enumerate(layers) if layer.family == family), key=lambda i: layers[i].block
            )
            for step, index in enumerate(members):
                places[index] = start + step
            if members:
                families.append((family, tuple(members)))
                start += len(members) + GAP
        return cls(tuple(layers), tuple(places), tuple(families))

    def axis(self, most: int = 8) -> dict[str, Any]:
        """Return the x axis with about `most` ticks per family, including its first and last block.

        Deep towers have round ticks, 1, 6, 12, 18, 24; the 1 only in the first family, to avoid an overlap.
        """
        shown: list[int] = []
        for _, members in self.families:
            kept = _ticks(len(members), most)
            shown += [members[k] for k in kept if k or not shown or len(members) <= DEEP]
        return axis(
            "block in each family, input → output",
            tickvals=[self.places[i] for i in shown],
            ticktext=[str(self.layers[i].block + 1) for i in shown],
            range=[0.45, max(self.places, default=1.0) + 0.55],
            showgrid=False,
            fixedrange=True,
            tickangle=0,
        )

    def titles(self) -> list[dict[str, Any]]:
        """Return the kinds of matrices above the plot, each once over all its families."""
        kinds: dict[str, list[int]] = {}
        for _, members in self.families:
            kinds.setdefault(self.layers[members[0]].kind, []).extend(members)
        return [
            note(
                (self.places[members[0]] + self.places[members[-1]]) / 2,
                1,
                f"<b>{kind}</b>",
                yref="paper",
                xanchor="center",
                yanchor="bottom",
                color=token("ink"),
            )
            for kind, members in kinds.items()
        ]


def headed(x: float, reach: tuple[float, float], text: str) -> dict[str, Any]:
    """Return a label above the plot for a place of the x axis, kept inside the figure's width."""
    share = (x - reach[0]) / max(reach[1] - reach[0], 1e-9)
    side = "left" if share < 0.3 else "right" if share > 0.7 else "center"
    ink = token("ink")
    return note(x, 1, f"<b>{text}</b>", yref="paper", yanchor="bottom", xanchor=side, yshift=2, color=ink, size=LABEL)


def with_table(figure: Figure, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Figure:
    """Return the figure with its numbers as a table, for figures whose traces do not give a good one."""
    figure["layout"]["meta"]["table"] = [list(head), *(list(row) for row in rows)]
    return figure


def inner_ring(
    x: float, y: float, share: float, dash: str = "solid", cell: tuple[float, float] = (1.0, 1.0)
) -> list[dict[str, Any]]:
    """Return an ink frame inside a cell, with a halo; `share` is its part of the cell, dashes are for a reference."""
    width, height = share * cell[0], share * cell[1]
    box = {"type": "rect", "x0": x - width / 2, "x1": x + width / 2, "y0": y - height / 2, "y1": y + height / 2}
    halo = {**box, "line": {"color": token("panel"), "width": 4}}
    return [halo, {**box, "line": {"color": token("ink"), "width": 2, "dash": dash}}]


def ring(x: float, y: float, width: float = 1.06, height: float = 1.0) -> list[dict[str, Any]]:
    """Return the frame round a selected cell of a width and height: accent with a halo of the panel's colour."""
    box = {"type": "rect", "x0": x - width / 2, "x1": x + width / 2, "y0": y - height / 2, "y1": y + height / 2}
    return [
        {**box, "line": {"color": token("panel"), "width": 6}},
        {**box, "line": {"color": token("accent"), "width": 3}},
    ]


def cell_text(
    xs: Sequence[float], ys: Sequence[float], texts: Sequence[str], levels: Sequence[float], grid: tuple[int, int]
) -> dict[str, Any]:
    """Return numbers inside heat cells.

    `meta.levels` are the cells' places on the colour scale, 0 to 1, from which black or white is chosen; `meta.grid`
    counts columns and rows, so that numbers vanish where they would not fit.
    """
    return {
        "type": "scatter",
        "mode": "text",
        "x": list(xs),
        "y": list(ys),
        "text": list(texts),
        "textfont": {"size": TICK, "color": token("ink")},
        "hoverinfo": "skip",
        "cliponaxis": False,
        "meta": {
            "levels": [min(1.0, max(0.0, level)) if math.isfinite(level) else 0.0 for level in levels],
            "grid": list(grid),
        },
    }


def rows_of(
    tasks: Sequence[str], layers: Sequence[Layer], values: Sequence[Sequence[float]], members: Sequence[int]
) -> list[list[list[Any]]]:
    """Return what a cell stands for: task, layer name, and the number itself, which a click and the CSV read."""
    return [
        [[task, layers[i].name, row[i] if math.isfinite(row[i]) else None] for i in members]
        for task, row in zip(tasks, values, strict=True)
    ]
