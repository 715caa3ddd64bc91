"""The layer map at the top of the Explore tab: one number for each expert and layer."""

from __future__ import annotations

from dataclasses import dataclass

from esm_viz.core.records import Layer, LayerMap
from esm_viz.figures.figure_parts import (
    Columns,
    Figure,
    cell_text,
    colour_bar,
    label_margin,
    picture,
    ramp,
    ring,
    rows_of,
    task_axis,
)
from esm_viz.figures.number_format import number, percent, safe


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of map: its name on the switch, a sentence on how to read it, its colour scale and title."""

    name: str
    how: str
    scale: str
    tops: tuple[float, ...]  # possible upper ends of the colour scale, each divided into round steps


KINDS = {
    "rank90": Kind(
        "Rank for 90 % energy",
        "Each cell is one layer of one expert. The number counts the directions that hold 90 % of its output change; "
        "a stronger colour means a larger share of the layer.",
        "share of d_out",
        (0.08, 0.2, 0.4, 1.0),
    ),
    "energy": Kind(
        "Energy in first r",
        "Stronger: the first r directions hold more of the change.",
        "energy kept",
        (1.0,),
    ),
    "norm": Kind("‖ΔW‖", "Stronger: this layer changed more.", "‖ΔW‖ / largest", (1.0,)),
    "overlap": Kind("Overlap", "Stronger: shares more directions with the other tasks.", "mean overlap", (0.6, 1.0)),
}


def layer_map_figure(record: LayerMap, chosen: tuple[str, str] | None = None) -> Figure:
    """Draw the map; the scale starts at 0 and has few possible ends, so that maps of recipes can be compared.

    Args:
        record: T x L numbers and the shares that colour them.
        chosen: task and layer name of the selected cell.
    """
    kind, columns = KINDS[record.kind], Columns.of(record.layers)
    largest = max((share for row in record.shares for share in row), default=0.0)
    top = next((end for end in kind.tops if largest <= end), kind.tops[-1])
    steps = [top * step / 4 for step in range(5)]
    data = []
    for at, (_, members) in enumerate(columns.families):
        last = at == len(columns.families) - 1
        data.append(
            {
                "type": "heatmap",
                "x": [columns.places[i] for i in members],
                "y": list(range(len(record.tasks))),
                "z": [[row[i] for i in members] for row in record.shares],
                "text": [[_hover(record, t, i) for i in members] for t in range(len(record.tasks))],
                "customdata": rows_of(record.tasks, record.layers, record.values, members),
                "hovertemplate": "%{text}<extra></extra>",
                "zmin": 0,
                "zmax": top,
                "colorscale": ramp("seq"),
                "xgap": 2,
                "ygap": 2,
                "showscale": last,
                "colorbar": colour_bar(kind.scale, steps, [f"{percent(s)} %" for s in steps]) if last else None,
            }
        )
    cells = [(t, i) for t in range(len(record.tasks)) for i in range(len(record.layers))]
    data.append(
        cell_text(
            [columns.places[i] for _, i in cells],
            [t for t, _ in cells],
            [_cell(record.kind, record.values[t][i]) for t, i in cells],
            [record.shares[t][i] / top for t, i in cells],
            (len(record.layers) + 3, len(record.tasks)),
        )
    )
    spot = _place(record, columns, chosen)
    return picture(
        data,
        kind.how,
        _says(record, chosen),
        (len(record.layers) + 3, len(record.tasks)),
        rows=record.tasks,
        names=("task", "layer", kind.name),
        layers=record.layers,
        xaxis=columns.axis(),
        yaxis=task_axis(record.tasks),
        margin={"l": label_margin(record.tasks), "r": 92, "t": 22, "b": 42},
        annotations=columns.titles(),
        shapes=ring(*spot) if spot else [],
    )


def _cell(kind: str, value: float) -> str:
    if kind == "rank90":
        return number(value, 0)
    if kind == "energy":
        return percent(value)
    text = number(value, 2)
    return text[1:] if text.startswith("0.") else text


def _hover(record: LayerMap, task: int, index: int) -> str:
    layer, value = record.layers[index], record.values[task][index]
    facts = {
        "rank90": lambda: (
            f"{number(value, 0)} directions for 90 % ({percent(record.shares[task][index])} % of {layer.d_out})"
        ),
        "energy": lambda: f"{percent(value, 1)} % of the energy in the first r",
        "norm": lambda: f"‖ΔW‖ = {number(value, 3)}",
        "overlap": lambda: f"mean overlap with the other tasks {number(value)}",
    }[record.kind]
    return f"<b>{safe(record.tasks[task])}, {layer.label}</b><br>{facts()}"


def _place(record: LayerMap, columns: Columns, chosen: tuple[str, str] | None) -> tuple[float, float] | None:
    names = [layer.name for layer in record.layers]
    if chosen is None or chosen[0] not in record.tasks or chosen[1] not in names:
        return None
    return columns.places[names.index(chosen[1])], record.tasks.index(chosen[0])


def _lower(name: str) -> str:
    """Return a name for the middle of a sentence."""
    return name[0].lower() + name[1:]


def _says(record: LayerMap, chosen: tuple[str, str] | None) -> str:
    layers: dict[str, Layer] = {layer.name: layer for layer in record.layers}
    if chosen is None or chosen[0] not in record.tasks or chosen[1] not in layers:
        return f"{len(record.tasks)} tasks by {len(record.layers)} layers."
    t, i = record.tasks.index(chosen[0]), list(layers).index(chosen[1])
    value = _cell(record.kind, record.values[t][i])
    return f"Selected: {chosen[0]}, {layers[chosen[1]].label}, {_lower(KINDS[record.kind].name)} {value}."
