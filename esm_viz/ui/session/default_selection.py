"""The default selection in Explore: the layer and the pair of tasks with the largest overlap."""

from __future__ import annotations

from esm_viz.ui.session.session_store import Session


def settle_view(session: Session) -> None:
    """Select the layer with the largest mean overlap, and the pair of tasks with the largest overlap there."""
    if session.view.cell is not None:
        return
    project = session.project
    record = project.layer_map("overlap", session.recipe)
    best = record.layers.index(record.strongest)
    task = max(range(len(record.tasks)), key=lambda t: record.values[t][best])
    with session.lock:
        if session.project is project and session.view.cell is None:
            session.view.cell = (record.tasks[task], record.strongest.name)
            session.view.pair = closest(session, record.tasks[task])


def closest(session: Session, task: str) -> tuple[str, str] | None:
    """Return a task and the one with which it has the largest overlap at the selected layer."""
    assert session.view.cell is not None
    record = session.project.overlap(session.view.cell[1], session.recipe)
    at = record.tasks.index(task)
    others = [i for i in range(len(record.tasks)) if i != at]
    return (task, record.tasks[max(others, key=lambda i: record.values[at][i])]) if others else None
