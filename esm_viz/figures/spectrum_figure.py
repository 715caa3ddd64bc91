"""The spectrum of one task at one layer: energy kept by k directions of ESD and of SVD, or the eigenvalues λ."""

from __future__ import annotations

import math
from typing import Any

from esm_viz.core.records import Spectrum
from esm_viz.figures.figure_parts import LABEL, Figure, axis, note, picture, task_colour, token
from esm_viz.figures.number_format import percent

POINTS = 160  # of a curve; a card has no room for more
FLOOR = 1e-10  # of λ_1; below it λ is rounding noise (METHOD) and is not drawn


def spectrum_figure(record: Spectrum, index: int = 0, view: str = "energy") -> Figure:
    """Draw the spectrum.

    Args:
        record: the spectrum of one task and layer.
        index: the task's place in the recipe, for its colour.
        view: "energy", cumulative share by k, or "lambda", λ on a log scale.
    """
    return _energy(record, index) if view == "energy" else _eigenvalues(record, index)


def _shown(record: Spectrum) -> int:
    """Return the number of directions to draw: until both curves are flat, and at least r."""
    count = len(record.energy)
    full = next((k + 1 for k in range(count) if min(record.energy[k], record.energy_svd[k]) >= 0.995), count)
    return min(count, max(math.ceil(1.5 * record.rank), full, 8))


def _picked(count: int) -> list[int]:
    """Return the indices drawn, all of them or about POINTS, always with both ends."""
    if count <= POINTS:
        return list(range(count))
    return sorted({round(i * (count - 1) / (POINTS - 1)) for i in range(POINTS)})


def _ticks(count: int) -> list[int]:
    step = next(s for s in (1, 2, 5, 10, 20, 40, 50, 100, 200, 250, 500, 1000, 2500) if count / s <= 5)
    return list(range(0, count + 1, step))


def _energy(record: Spectrum, index: int) -> Figure:
    count, colour = _shown(record), task_colour(index)
    picked = [i for i in _picked(len(record.energy)) if i < count]
    k = [i + 1 for i in picked]
    r = min(max(record.rank, 1), len(record.energy))
    esd, svd = 100 * record.energy[r - 1], 100 * record.energy_svd[r - 1]
    hover = "%{y:.1f} % in the first %{x}<extra><b>%{fullData.name}</b></extra>"
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "ESD",
            "x": k,
            "y": [100 * record.energy[i] for i in picked],
            "line": {"color": colour, "width": 3.5},
            "hovertemplate": hover,
            "meta": {"tasks": [record.task]},
        },
        {
            "type": "scatter",
            "mode": "lines",
            "name": "SVD",
            "x": k,
            "y": [100 * record.energy_svd[i] for i in picked],
            "line": {"color": token("ref"), "width": 2.5, "dash": "dash"},
            "hovertemplate": hover,
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": [r, r],
            "y": [esd, svd],
            "hoverinfo": "skip",
            "marker": {
                "size": 11,
                "color": [colour, token("panel")],
                "line": {"color": [colour, token("ref")], "width": 2.5},
            },
        },
    ]
    # Labels avoid the curves: SVD is below its curve on the right, r at the bottom on the side with room.
    right = r < 0.62 * count
    side = {"xanchor": "left", "xshift": 8} if right else {"xanchor": "right", "xshift": -8}
    notes = [
        note(r, 6, f"<b>r = {record.rank}</b>, set by ρ", yanchor="bottom", color=token("accent"), size=LABEL, **side),
        note(r, svd, f"SVD {percent(svd / 100)} %", xanchor="left", yanchor="top", xshift=8, yshift=-6, size=LABEL)
        if right
        else note(
            r, svd, f"SVD {percent(svd / 100)} %", xanchor="right", yanchor="top", xshift=-8, yshift=-22, size=LABEL
        ),
        note(
            r,
            100,
            f"<b>ESD {percent(esd / 100)} %</b>",
            xanchor="right",
            yanchor="bottom",
            xshift=-2,
            yshift=1,
            color=token("ink"),
            size=LABEL,
        ),
    ]
    return picture(
        data,
        "The higher the line at r, the less is lost. Dashed: plain SVD.",
        f"{record.task}, {record.layer.label}: r = {record.rank} directions keep {percent(esd / 100, 1)} % "
        f"of the energy, as many of plain SVD {percent(svd / 100, 1)} %.",
        margin={"l": 58, "r": 14, "t": 22, "b": 44},
        xaxis=axis("directions kept, k", range=[0, count], tickvals=_ticks(count)),
        yaxis=axis("energy kept, %", range=[0, 102], tickvals=[0, 25, 50, 75, 90]),
        shapes=[
            {"type": "line", "x0": r, "x1": r, "y0": 0, "y1": 102, "line": {"color": token("accent"), "width": 2}},
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": 90,
                "y1": 90,
                "line": {"color": token("line-strong"), "width": 1.5, "dash": "dot"},
            },
        ],
        annotations=notes,
    )


def _eigenvalues(record: Spectrum, index: int) -> Figure:
    top = record.eigenvalues[0] if record.eigenvalues else 0.0
    live = [value for value in record.eigenvalues if value > FLOOR * top]
    picked = _picked(len(live))
    count = max(len(live), record.rank, 1)
    low = math.floor(math.log10(min(live))) if live else 0
    high = math.ceil(math.log10(max(live))) if live else 1
    step = max(1, math.ceil((high - low) / 4))
    powers = list(range(low, high + 1, step))
    r = record.rank
    right = r < 0.6 * count
    return picture(
        [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "λ",
                "x": [i + 1 for i in picked],
                "y": [live[i] for i in picked],
                "line": {"color": task_colour(index), "width": 3.5},
                "meta": {"tasks": [record.task]},
                "hovertemplate": "λ = %{y:.3g} at %{x}<extra></extra>",
            }
        ],
        "A steep fall means few directions matter.",
        f"{record.task}, {record.layer.label}: {len(live)} of {len(record.eigenvalues)} directions carry energy.",
        margin={"l": 62, "r": 14, "t": 22, "b": 44},
        xaxis=axis("direction", range=[0, count * 1.02], tickvals=_ticks(count)),
        yaxis=axis(
            "λ, squared activation",
            type="log",
            range=[low, high],
            tickvals=[10.0**p for p in powers],
            ticktext=[f"10<sup>{p}</sup>".replace("-", "−") for p in powers],
        ),
        shapes=[
            {
                "type": "line",
                "x0": r,
                "x1": r,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": token("accent"), "width": 2},
            }
        ],
        annotations=[
            note(
                r,
                0.03,
                f"<b>r = {r}</b>, set by ρ",
                yref="paper",
                yanchor="bottom",
                color=token("accent"),
                size=LABEL,
                xanchor="left" if right else "right",
                xshift=8 if right else -8,
            )
        ],
    )
