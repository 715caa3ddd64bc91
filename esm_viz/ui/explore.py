"""The Explore tab: the map of all layers and experts, and three pictures of the selected cell."""

from __future__ import annotations

from typing import Any

from esm_viz.errors import RecipeError
from esm_viz.figures import KINDS, angles_figure, layer_map_figure, overlap_figure, spectrum_figure
from esm_viz.figures.words import safe
from esm_viz.types import Overlap
from esm_viz.ui.html import mark
from esm_viz.ui.store import Session

VIEWS = (("energy", "Energy"), ("lambda", "log λ"))


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Select a cell, a pair or a view, and name the pieces to paint.

    Raises:
        RecipeError: there is no such cell, pair or view.
    """
    do, data, value = message.get("do"), message.get("data"), message.get("value")
    if do == "kind" and value in KINDS:
        session.view.kind = str(value)
        return ("map",)
    if do == "view" and value in dict(VIEWS):
        session.view.spectrum = str(value)
        return ("spectrum",)
    if not (isinstance(data, list) and len(data) == 2 and all(isinstance(item, str) for item in data)):
        raise RecipeError("this cannot be selected", "click a cell of the map")
    first, second = data
    if do == "pair" and {first, second} <= set(session.project.tasks) and first != second:
        session.view.pair = (first, second)
        return ("overlap", "angles")
    if do == "cell" and first in session.project.tasks:
        session.project.layer(second)  # refuses what is no layer
        session.view.cell = (first, second)
        session.view.pair = _closest(session, first)
        return ("map", "spectrum", "overlap", "angles")
    raise RecipeError("this cannot be selected", "click a cell of the map")


def settle_view(session: Session) -> None:
    """Choose the first selection: the layer where tasks share most, and the pair that shares most there."""
    if session.view.cell is not None:
        return
    record = session.project.layer_map("overlap", session.recipe)
    best = max(range(len(record.layers)), key=lambda i: sum(row[i] for row in record.values))
    task = max(range(len(record.tasks)), key=lambda t: record.values[t][best])
    session.view.cell = (record.tasks[task], record.layers[best].name)
    session.view.pair = _closest(session, record.tasks[task])


def _closest(session: Session, task: str) -> tuple[str, str] | None:
    """Return the task and the one it shares most with at the selected layer."""
    record = _overlap(session)
    at = record.tasks.index(task)
    others = [i for i in range(len(record.tasks)) if i != at]
    return (task, record.tasks[max(others, key=lambda i: record.values[at][i])]) if others else None


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
    record = session.project.spectrum(task, name, session.recipe)
    index = session.project.tasks.index(task)
    return {
        "title": f"{record.layer.label}, {safe(task)} {mark(index)}",
        "figure": spectrum_figure(record, index, session.view.spectrum),
        "choices": [list(view) for view in VIEWS],
        "chosen": session.view.spectrum,
        "switch": "view",
    }


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
