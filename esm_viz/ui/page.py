"""Which function paints which piece of the page, and how a piece becomes the JSON string that is sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from esm_viz.errors import EsmVizError
from esm_viz.ui import bar, evaluate, explore, export, load, merge
from esm_viz.ui.html import sentence
from esm_viz.ui.jobs import UNEXPECTED
from esm_viz.ui.knobs import rail
from esm_viz.ui.store import Session
from esm_viz.ui.uploads import Place
from esm_viz.ui.work import EXPLORE

CARDS = (*EXPLORE, "accuracy", "interference", "norms", "bars", "alpha")
PAINTERS: dict[str, Callable[[Session], dict[str, Any]]] = {
    "bar": bar.bar,
    "states": merge.states,
    "found": load.found,
    "cost": load.cost,
    "map": explore.layer_map,
    "spectrum": explore.spectrum,
    "overlap": explore.overlap,
    "angles": explore.angles,
    "stability": explore.stability,
    "patches": explore.patches,
    "subspaces": explore.subspaces,
    "rail": rail,
    "stats": merge.stats,
    "accuracy": merge.accuracy,
    "interference": merge.interference,
    "norms": merge.norms,
    "history": merge.history,
    "board": evaluate.board,
    "bars": evaluate.bars,
    "alpha": evaluate.alpha,
    "proof": export.proof,
    "recipe": export.recipe_text,
}


def paint(session: Session, names: Iterable[str], place: Place, tick: bool = False) -> dict[str, str]:
    """Return the JSON of the named pieces, with one new version; the header always comes along."""
    wanted = dict.fromkeys([*names, "bar"])
    if wanted.keys() & {"rail", "history"}:
        wanted["recipe"] = wanted["proof"] = None
    with session.lock:
        session.version += 1
        session.dirty -= wanted.keys()
        painters = PAINTERS | {"source": lambda s: load.source(s, place), "bar": lambda s: bar.bar(s, tick)}
        return {name: encode(_safely(painters[name], session, name), session.version) for name in wanted}


def encode(piece: dict[str, Any], version: int) -> str:
    """Return a piece as the JSON string that a component takes."""
    return orjson.dumps({"v": version, **piece}, option=orjson.OPT_NON_STR_KEYS).decode()


def _safely(painter: Callable[[Session], dict[str, Any]], session: Session, name: str) -> dict[str, Any]:
    """Paint one piece; what goes wrong stays inside its card."""
    try:
        return painter(session)
    except EsmVizError as error:
        text = str(error)
    except Exception:
        logging.getLogger("esm_viz.ui").debug("painting %s", name, exc_info=True)
        text = UNEXPECTED
    if name in CARDS:
        return {"title": "", "error": text}
    return {
        "html": f'<section class="card">{sentence("bad", text)}</section>',
        "knobs": [],
        "methods": [],
        "error": text,
    }
