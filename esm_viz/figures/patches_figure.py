"""The images with the strongest patches of one direction: unchanged above, with all patches' scores below."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from esm_viz.core.records import HeatImage, Patches
from esm_viz.figures.figure_parts import Figure, axis, colour_bar, note, picture, ramp, token
from esm_viz.figures.number_format import number, percent, safe, short

MOST_IMAGES = 6
GAP = 0.12  # between images, in widths of one
COVER = 0.72  # opacity of the scores over the image


def patches_figure(record: Patches, most: int = MOST_IMAGES) -> Figure:
    """Draw the first images twice: with frames round the top patches, and under the scores of all their patches.

    Args:
        record: top patches and the images that hold them.
        most: images drawn.
    """
    shown = record.images[:most]
    lefts = [at * (1 + GAP) for at in range(len(shown))]
    largest = max((patch.score for patch in record.top), default=0.0)
    width = max(len(shown), 1) * (1 + GAP) - GAP
    bare: dict[str, Any] = {"tickvals": [], "showgrid": False, "showline": False, "fixedrange": True}
    return picture(
        [_heat(image, left, largest, at == 0) for at, (image, left) in enumerate(zip(shown, lefts, strict=True))],
        "Framed: the patches that change the output most along this direction. Stronger colour below: changes it more.",
        _says(record),
        names=("image", "patch", "|eᵀΔW x|"),
        margin={"l": 12, "r": 78, "t": 14, "b": 34},
        xaxis=axis(
            f"proxies of {safe(record.task)}, direction {record.direction} at {record.layer.label}",
            range=[-0.05, width + 0.05],
            **bare,
        ),
        yaxis=axis(range=[2 + GAP + 0.05, -0.22], scaleanchor="x", **bare),
        images=[_image(image, left, top) for image, left in zip(shown, lefts, strict=True) for top in (0.0, 1 + GAP)],
        shapes=[frame for image, left in zip(shown, lefts, strict=True) for frame in _frames(record, image, left)],
        annotations=[
            note(left + 0.5, -0.02, f"image {image.image + 1}", xanchor="center", yanchor="bottom")
            for image, left in zip(shown, lefts, strict=True)
        ],
    )


def _image(image: HeatImage, left: float, top: float) -> dict[str, Any]:
    """Return the pixels themselves, so that the picture needs no file and no network."""
    source = "data:image/png;base64," + base64.b64encode(image.png).decode()
    box = {"xref": "x", "yref": "y", "x": left, "y": top, "sizex": 1, "sizey": 1}
    return {"source": source, **box, "sizing": "stretch", "layer": "below"}


def _heat(image: HeatImage, left: float, largest: float, scale: bool) -> dict[str, Any]:
    rows, columns = len(image.heat), len(image.heat[0])
    ticks = [largest * step / 2 for step in range(3)]
    return {
        "type": "heatmap",
        "x": [left + (column + 0.5) / columns for column in range(columns)],
        "y": [1 + GAP + (row + 0.5) / rows for row in range(rows)],
        "z": [list(row) for row in image.heat],
        "text": [[_hover(image, row, column) for column in range(columns)] for row in range(rows)],
        "customdata": [
            [
                [f"image {image.image + 1}", f"row {row + 1}, column {column + 1}", score]
                for column, score in enumerate(line)
            ]
            for row, line in enumerate(image.heat)
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "zmin": 0,
        "zmax": largest or 1.0,
        "opacity": COVER,
        "colorscale": ramp("seq"),
        "showscale": scale,
        "colorbar": colour_bar("|eᵀΔW x|", ticks, [short(tick) for tick in ticks]) if scale else None,
    }


def _frames(record: Patches, image: HeatImage, left: float) -> Iterable[dict[str, Any]]:
    """Return frames of the top patches of an image, with a halo so that they are visible on any pixels."""
    rows, columns = len(image.heat), len(image.heat[0])
    for patch in record.top:
        if patch.image == image.image:
            x, y = left + patch.column / columns, patch.row / rows
            box = {"type": "rect", "x0": x, "x1": x + 1 / columns, "y0": y, "y1": y + 1 / rows}
            yield {**box, "line": {"color": token("panel"), "width": 4}}
            yield {**box, "line": {"color": token("ink"), "width": 2}}


def _hover(image: HeatImage, row: int, column: int) -> str:
    place = f"<b>image {image.image + 1}, row {row + 1}, column {column + 1}</b>"
    return f"{place}<br>{number(image.heat[row][column])}, class token {number(image.class_token)}"


def _says(record: Patches) -> str:
    images, left_out = len(record.images), record.blank_left_out
    blank = f" {left_out} blank patches that score as high are left out." if left_out > 1 else ""
    if left_out == 1:
        blank = " 1 blank patch that scores as high is left out."
    if record.all_blank:
        blank = " Every patch is blank: nearly one colour."
    return (
        f"{record.task}, {record.layer.label}: direction {record.direction} carries {percent(record.energy, 1)} % "
        f"of the energy, {percent(record.class_token_share)} % of that through class tokens; its {len(record.top)} "
        f"strongest patches lie in {images} image{'s' if images > 1 else ''}.{blank}"
    )
