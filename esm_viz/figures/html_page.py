"""One HTML file of pictures that opens without a network: the studio's own cards, style and fonts, and plotly, inside.

Each picture is the card of the screen: it can be hovered, zoomed, and saved as SVG, PNG or CSV, light or dark.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from plotly.offline import get_plotlyjs

from esm_viz.core.assets_folder import assets_folder
from esm_viz.figures.figure_parts import Figure
from esm_viz.figures.number_format import safe
from esm_viz.version import __version__

ASSETS = assets_folder() / "ui"
CARD_SCRIPTS = (
    *("studio", "numbers_table", "highlight", "picture_cursor", "sticky_row_names", "kept_zoom"),
    *("picture_download", "full_screen", "slider", "card"),
)
_SHEETS = ("tokens", "studio", "card", "report")
_FONT = re.compile(r"url\(\./(fonts/[\w-]+\.woff2)\)")
# The browser itself refuses whatever would ask another host.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
_THEME = '<button class="btn" data-do="theme">Light or dark</button>'


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a page.

    Attributes:
        name: of its downloads, without spaces.
        title: trusted HTML.
        figure: with `how` and `says` in its layout's `meta`.
        height: of its card, px.
        how: one plain sentence on how to read it, instead of the figure's own.
    """

    name: str
    title: str
    figure: Figure
    height: int = 400
    how: str = ""

    @property
    def wide(self) -> bool:
        """Say whether it has columns that need the whole width."""
        return self.figure["layout"]["meta"]["grid"][0] > 0


def pictures_page(title: str, said: str, pictures: Sequence[Picture]) -> str:
    """Return a page of pictures with one sentence on their source at the top."""
    return html_page(title, [f'<p class="lead">{safe(said)}</p>', *pictures])


def section(title: str, how: str, body: str) -> str:
    """Return a card of text over the whole width; `body` is trusted HTML, the others are plain."""
    return f'<section class="card words"><h2>{safe(title)}</h2><p class="how">{safe(how)}</p>{body}</section>'


def html_page(title: str, parts: Sequence[str | Picture], recipe: str = "") -> str:
    """Return a whole HTML page.

    Args:
        title: of the page, plain.
        parts: trusted HTML and pictures, in reading order.
        recipe: first digits of the recipe's SHA-256, which saved pictures contain.
    """
    pictures = [part for part in parts if isinstance(part, Picture)]
    body = "".join(_place(part) if isinstance(part, Picture) else part for part in parts)
    style = "".join(_sheet(f"{name}.css") for name in _SHEETS)
    scripts = "".join(
        f"<script>{text}</script>" for text in (get_plotlyjs(), *(_asset(f"{name}.js") for name in CARD_SCRIPTS))
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" '
        f'content="{_POLICY}"><title>{safe(title)}</title><style>{style}</style></head><body>'
        f'<main class="gradio-container report"><header><h1>{safe(title)}</h1>{_THEME}</header>{body}'
        "<noscript><p>The pictures are drawn by a script of this file, which is switched off.</p></noscript></main>"
        f'{scripts}<script type="application/json" id="pictures">{_json(pictures, recipe)}</script>'
        f"<script>{_asset('report.js')}</script></body></html>"
    )


def _place(picture: Picture) -> str:
    kind = "picture wide" if picture.wide else "picture"
    return f'<div class="{kind}" id="card-{safe(picture.name)}" style="height:{picture.height}px" data-picture></div>'


def _json(pictures: Sequence[Picture], recipe: str) -> str:
    """Return the pictures as JSON, escaped so that it cannot end its script element."""
    shown = [
        {
            "name": picture.name,
            "title": picture.title,
            "figure": picture.figure,
            "version": __version__,
            "recipe": recipe,
        }
        | ({"how": picture.how} if picture.how else {})
        for picture in pictures
    ]
    return orjson.dumps(shown, option=orjson.OPT_NON_STR_KEYS).decode().replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _sheet(name: str) -> str:
    """Return a style sheet with its fonts inside."""

    def inside(found: re.Match[str]) -> str:
        return f"url(data:font/woff2;base64,{base64.b64encode((ASSETS / found[1]).read_bytes()).decode()})"

    return _FONT.sub(inside, _asset(name))
