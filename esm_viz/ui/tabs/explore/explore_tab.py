"""The Explore tab: the map of all layers and experts, pictures of the selected cell, and below them the slower ones.

The first cards are painted at once; those of `PICTURES` are measured beside the page.
"""

from __future__ import annotations

from typing import Any

from esm_viz.core.errors import EsmVizError, RecipeError
from esm_viz.core.records import Overlap, families_of
from esm_viz.explore.patches import patches
from esm_viz.explore.stability import stability
from esm_viz.explore.subspace_map import subspace_map
from esm_viz.figures import (
    KINDS,
    angles_figure,
    layer_map_figure,
    overlap_figure,
    spectrum_figure,
)
from esm_viz.figures.number_format import safe
from esm_viz.merge import METHODS
from esm_viz.ui.components.browser_message import word
from esm_viz.ui.components.html_snippets import mark
from esm_viz.ui.session.default_selection import closest, settle_view
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.tabs.explore.measured_picture import MeasuredPicture, measure_pictures
from esm_viz.ui.tabs.explore.patches_card import DIRECTIONS, direction_choice, patches_card
from esm_viz.ui.tabs.explore.stability_card import stability_card
from esm_viz.ui.tabs.explore.subspace_map_card import EVERY, family_choice, subspace_map_card
from esm_viz.ui.tabs.merge import merge_tab
from esm_viz.ui.tabs.merge.knob_rail import knob_span
from esm_viz.ui.tabs.tab_definition import Piece, Tab

VIEWS = (("energy", "Energy"), ("lambda", "log λ"))
PICTURES = (
    MeasuredPicture("stability", "Stability", stability, stability_card),
    MeasuredPicture("patches", "Patches", patches, patches_card, direction_choice),
    MeasuredPicture("subspaces", "Which tasks share directions?", subspace_map, subspace_map_card, family_choice),
)
NAMES = ("map", "spectrum", "overlap", "angles", *(picture.name for picture in PICTURES))


def measure_selected(session: Session) -> None:
    """Measure the pictures for what is selected now."""
    measure_pictures(session, PICTURES)


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Select a cell, a pair or a view, and name the pieces to paint.

    Raises:
        RecipeError: there is no such cell, pair or view.
    """
    do, data, value = message.get("do"), message.get("data"), word(message, "value")
    if do == "kind" and value in KINDS:
        session.view.kind = value
        return ("map",)
    if do == "view" and value in dict(VIEWS):
        session.view.spectrum = value
        return ("spectrum",)
    if do == "family" and value in (EVERY, *families_of(session.project.layers)):
        session.view.family = value
        return ("subspaces",)
    if do == "direction" and value in DIRECTIONS:
        session.view.direction = int(value)
        measure_selected(session)
        return ("patches",)
    rank = METHODS[session.recipe.method].roles.get("rank")
    if do == "knob" and rank and message.get("name") == rank:
        return _turn(session, message)
    if not (isinstance(data, list) and len(data) == 2 and all(isinstance(item, str) for item in data)):
        raise RecipeError("this cannot be selected", "click a cell of the map")
    first, second = data
    if do == "pair" and {first, second} <= set(session.project.tasks) and first != second:
        session.view.pair = (first, second)
        return ("overlap", "angles")
    if do == "cell" and first in session.project.tasks:
        session.project.layer(second)  # refuses what is no layer
        session.view.cell = (first, second)
        session.view.pair = closest(session, first)
        measure_selected(session)
        return NAMES
    raise RecipeError("this cannot be selected", "click a cell of the map")


def _turn(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Turn the rank's knob as on Merge; while it moves the spectrum follows, where it rests all pictures do."""
    names = merge_tab.act(session, message)
    session.touch(names)  # they come a little later: the spectrum goes first
    return (*names, "spectrum", *arrive(session)) if message.get("rest") is True else ("spectrum",)


def arrive(session: Session) -> tuple[str, ...]:
    """Paint everything anew when a knob has moved since."""
    if session.explored == session.recipe:
        return ()
    session.explored = session.recipe
    measure_selected(session)
    return NAMES


def _overlap(session: Session) -> Overlap:
    assert session.view.cell is not None
    return session.project.overlap(session.view.cell[1], session.recipe)


def layer_map(session: Session) -> dict[str, Any]:
    """Return the map over all layers and experts."""
    settle_view(session)
    record = session.project.layer_map(session.view.kind, session.recipe)
    return {
        "title": "Where did fine-tuning change the model?",
        "figure": layer_map_figure(record, session.view.cell),
        "choices": [[key, kind.name] for key, kind in KINDS.items()],
        "chosen": session.view.kind,
        "switch": "kind",
        "picks": "cell",
    }


def spectrum(session: Session) -> dict[str, Any]:
    """Return the spectrum of the selected cell."""
    settle_view(session)
    assert session.view.cell is not None
    task, name = session.view.cell
    index = session.project.tasks.index(task)
    card = {
        "title": f"{session.project.layer(name).label}, {safe(task)} {mark(index)}",
        "slider": _rank(session),
        "choices": [list(view) for view in VIEWS],
        "chosen": session.view.spectrum,
        "switch": "view",
    }
    try:
        record = session.project.spectrum(task, name, session.recipe)
    except EsmVizError as error:  # a rank that is not there: the slider stays, to leave it again
        return card | {"error": str(error)}
    return card | {"figure": spectrum_figure(record, index, session.view.spectrum)}


def _rank(session: Session) -> dict[str, Any] | None:
    """Return the knob that sets r, for methods that have it."""
    method = METHODS[session.recipe.method]
    name = method.roles.get("rank")
    if name is None:
        return None
    knob = method.knobs[name]
    least, most, step = knob_span(session, knob, session.recipe.parameters[name])
    facts = {"name": name, "label": knob.label, "symbol": knob.symbol, "text": knob.text}
    return facts | {"least": least, "most": most, "step": step, "value": session.recipe.parameters[name]}


def overlap(session: Session) -> dict[str, Any]:
    """Return the overlaps at the selected layer."""
    settle_view(session)
    record = _overlap(session)
    return {
        "title": f"Overlap at {record.layer.label}",
        "figure": overlap_figure(record, session.view.pair),
        "picks": "pair",
    }


def angles(session: Session) -> dict[str, Any]:
    """Return the principal angles of the selected pair."""
    settle_view(session)
    if session.view.cell is None or session.view.pair is None:
        return {"title": "Principal angles", "empty": "One task alone has nothing to compare with."}
    record = session.project.angles(session.view.cell[1], *session.view.pair, session.recipe)
    return {"title": f"{safe(record.tasks[0])} and {safe(record.tasks[1])}", "figure": angles_figure(record)}


TAB = Tab(
    "Explore",
    (
        Piece("map", "card", layer_map),
        Piece("spectrum", "card", spectrum),
        Piece("overlap", "card", overlap),
        Piece("angles", "card", angles),
        *(Piece(picture.name, "card", picture.card) for picture in PICTURES),
    ),
    act,
    arrive=arrive,
)
