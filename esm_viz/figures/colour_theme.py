"""Colours for figures outside the page: replaces style tokens by the colours of the light or dark theme."""

from __future__ import annotations

import functools
import re
from typing import Any, Literal

from esm_viz.core.assets_folder import assets_folder
from esm_viz.figures.figure_parts import CONTRAST_DARK, CONTRAST_LIGHT, Figure

TOKENS = assets_folder() / "ui" / "tokens.css"
Theme = Literal["light", "dark"]
_VALUE = re.compile(r"--([a-z0-9-]+):\s*(#[0-9a-f]{6})\b", re.IGNORECASE)
_USE = re.compile(r"var\(--([a-z0-9-]+)\)")


@functools.cache
def tokens(theme: Theme) -> dict[str, str]:
    """Read the colour tokens of one theme; dark ones replace light ones of the same name."""
    light, _, dark = TOKENS.read_text(encoding="utf-8").partition("\n.dark,")
    found = dict(_VALUE.findall(light))
    return found if theme == "light" else found | dict(_VALUE.findall(dark))


def paint(figure: Figure, theme: Theme = "light") -> Figure:
    """Return the figure with every token replaced by its colour, ready for `plotly.graph_objects.Figure`."""
    values = tokens(theme)
    painted = _walk(figure, values)
    for trace in painted["data"]:
        levels = (trace.get("meta") or {}).get("levels")
        if levels is not None:
            trace["textfont"]["color"] = [_contrast(level, values) for level in levels]
    painted["layout"]["paper_bgcolor"] = painted["layout"]["plot_bgcolor"] = values["panel"]
    return painted


def _walk(node: Any, values: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _walk(value, values) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_walk(value, values) for value in node]
    if isinstance(node, str):
        return _USE.sub(lambda use: values[use[1]], node)
    return node


def _contrast(level: float, values: dict[str, str]) -> str:
    """Return black or white, whichever contrasts more with this colour of the sequential scale (WCAG 2 luminance)."""
    at = min(5, int(level * 6))
    low, high = (_channels(values[f"seq-{i}"]) for i in (at, at + 1))
    mixed = [a + (level * 6 - at) * (b - a) for a, b in zip(low, high, strict=True)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mixed)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return CONTRAST_DARK if (light + 0.05) / 0.05 > 1.05 / (light + 0.05) else CONTRAST_LIGHT


def _channels(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
