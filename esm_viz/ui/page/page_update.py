"""The page's pieces (components with a name) from all tabs, and the JSON strings that update them in the browser."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any

import orjson

from esm_viz.core.errors import EsmVizError
from esm_viz.ui.components.html_snippets import sentence
from esm_viz.ui.jobs.background_job import UNEXPECTED
from esm_viz.ui.page import header_bar
from esm_viz.ui.session.session_store import EVERYTHING, Session
from esm_viz.ui.tabs.evaluate import evaluate_tab
from esm_viz.ui.tabs.explore import explore_tab
from esm_viz.ui.tabs.export import export_tab
from esm_viz.ui.tabs.load import load_tab
from esm_viz.ui.tabs.merge import merge_tab
from esm_viz.ui.tabs.tab_definition import Piece, Tab
from esm_viz.version import __version__

TABS = (load_tab.TAB, explore_tab.TAB, merge_tab.TAB, evaluate_tab.TAB, export_tab.TAB)
HEADER = Tab("", (Piece("bar", "block", header_bar.bar), Piece("states", "block", merge_tab.states)), header_bar.act)
PIECES = {piece.name: piece for tab in (HEADER, *TABS) for piece in tab.pieces}
_SCRIPT = re.compile("<(?=script)", re.IGNORECASE)  # escaped, since a component's value must not contain a script tag


def paint(session: Session, names: Iterable[str], page: str, tick: bool = False) -> dict[str, str]:
    """Return the JSON strings of the named pieces and the header, with one new version.

    Args:
        session: the visitor's session.
        names: names of pieces, or EVERYTHING.
        page: the page that gets them.
        tick: whether the page asked for late results.
    """
    wanted = {**_whole(names), "bar": None}
    with session.lock:
        session.version += 1
        sight = session.sight(page)
        sight.versions |= dict.fromkeys(wanted, session.version)
        painted = {name: _safely(PIECES[name], session) for name in wanted}
        painted["bar"]["tick"] = tick
        recipe = _recipe_id(session)
        for name in wanted:
            if PIECES[name].kind == "card":
                painted[name] |= {"recipe": recipe, "version": __version__}
        if "rail" in painted:
            painted["rail"]["seq"] = sight.sequence
        return {name: encode(piece, session.version) for name, piece in painted.items()}


def touch(session: Session, names: Iterable[str]) -> None:
    """Mark pieces as changed, so that the session's other pages get them too."""
    session.touch(_whole(names))


def _recipe_id(session: Session) -> str:
    """Return the first digits of the recipe's SHA-256, which saved pictures contain."""
    if session.report is not None and session.report[0] == session.recipe:
        return session.report[1].recipe_sha256[:8]
    return session.project.sha256(session.recipe)[:8]


def encode(piece: dict[str, Any], version: int) -> str:
    """Return a piece as the JSON string that is its component's value."""
    text = orjson.dumps({"v": version, **piece}, option=orjson.OPT_NON_STR_KEYS).decode()
    return _SCRIPT.sub(r"\\u003c", text)


def _whole(names: Iterable[str]) -> dict[str, None]:
    """Return the names and those of other pieces that show the recipe; they follow a moved knob when it is at rest."""
    wanted = dict.fromkeys(names)
    if EVERYTHING in wanted:
        return dict.fromkeys(PIECES)
    return wanted | (dict.fromkeys(("recipe", "proof", "form")) if "history" in wanted else {})


def _safely(piece: Piece, session: Session) -> dict[str, Any]:
    """Return the content of one piece, or an error message in its card."""
    try:
        return piece.paint(session)
    except EsmVizError as error:
        text = str(error)
    except Exception:
        logging.getLogger("esm_viz.ui").debug("painting %s", piece.name, exc_info=True)
        text = UNEXPECTED
    if piece.kind == "card":
        return {"title": "", "error": text}
    return {
        "html": f'<section class="card">{sentence("bad", text)}</section>',
        "knobs": [],
        "menu": [],
        "error": text,
    }
