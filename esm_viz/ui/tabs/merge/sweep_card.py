"""The sweep card: one knob as a curve or two as a heat map, measured cell by cell in the background."""

from __future__ import annotations

import math
from typing import Any, Literal

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Sweep, Value
from esm_viz.figures import sweep_figure
from esm_viz.figures.number_format import safe
from esm_viz.figures.sweep_cells import LABEL_FREE, QUANTITIES, Shown
from esm_viz.merge import METHODS, with_parameters
from esm_viz.search.alpha_search import SEARCH_STEPS
from esm_viz.ui.components.html_snippets import button, chip, select
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session.search_time_estimate import about, cell_seconds
from esm_viz.ui.session.session_jobs import keep, start, wait_for_live
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.tabs.merge.history_diff import fixed_in_words, labels_of

WHAT = "Sweeping"
STEPS = (5, 9, 13)
EMPTY = "Not swept yet. Choose one knob or two; every cell is merged and measured."


def choose(session: Session, what: str, value: str) -> None:
    """Set one of the card's controls.

    Raises:
        RecipeError: it has no such value.
    """
    searches, knobs = session.searches, METHODS[session.recipe.method].knobs
    if what == "sweep-knob" and value in knobs:
        searches.knob = value
    elif what == "sweep-against" and value in ("", *knobs) and value != chosen(session)[0]:
        searches.knob, searches.against = chosen(session)[0], value
    elif what == "sweep-steps" and value in map(str, STEPS):
        searches.steps = int(value)
    elif what == "sweep-shown" and value in dict(quantities(session)):
        searches.shown = value
    elif what == "sweep-alpha":
        searches.anew = not searches.anew
    else:
        raise RecipeError(f"{value!r} cannot be chosen here", "choose one of the list")


def chosen(session: Session) -> tuple[str, ...]:
    """Return the one or two knobs to sweep; another method's knobs are replaced by the last numeric one except α."""
    knobs, searches = METHODS[session.recipe.method].knobs, session.searches
    numbers = [name for name, knob in knobs.items() if knob.range and name != "alpha"]
    first = searches.knob if searches.knob in knobs else (numbers or ["alpha"])[-1]
    return (first, searches.against) if searches.against in knobs and searches.against != first else (first,)


def quantities(session: Session) -> list[tuple[str, str]]:
    """Return the quantities that a sweep can show, as (key, words); without labels what is measured on proxies."""
    if not session.project.has_labels("validation"):
        headed = session.project.search_objective(alpha_alone=False) is not None
        key = "agreement" if headed else "direction"
        return [(key, LABEL_FREE[key]), ("interference", "interference")]
    tasks = [(str(at), task) for at, task in enumerate(session.project.tasks)]
    return [*QUANTITIES.items(), *tasks]


def grid_of(session: Session) -> dict[str, tuple[Value, ...]]:
    """Return the values of the chosen knobs."""
    project, recipe, steps = session.project, session.recipe, session.searches.steps
    return {name: project.spaced(recipe, name, steps) for name in chosen(session)}


def sweep(session: Session) -> None:
    """Measure every cell on validation images, or on unlabelled proxies; a stopped sweep keeps its cells.

    Raises:
        RecipeError: these are more cells than this server allows.
    """
    recipe, grid, most = session.recipe, grid_of(session), session.place.limits.cells
    cells = math.prod(len(values) for values in grid.values())
    if cells > most:
        raise RecipeError(f"that makes {cells} cells", f"one sweep here has at most {most}, choose fewer steps")
    asked = with_parameters(recipe, alpha="search") if searches_alpha(session) else recipe
    labelled = session.project.has_labels("validation")
    split: Literal["validation", "none"] = (
        "validation" if labelled else "none"
    )  # knobs must not be chosen on test images

    def work(job: Job) -> None:
        def seen(record: Sweep) -> None:
            keep(session, job, ("sweep",), lambda: setattr(session.searches, "sweep", (recipe, record)))
            wait_for_live(session, job)

        session.project.sweep(asked, grid, split, 0, job.progress, seen)

    start(session, WHAT, work, "sweep", ("sweep",))


def searches_alpha(session: Session) -> bool:
    """Say whether α is searched in every cell."""
    able = METHODS[session.recipe.method].searches_alpha and session.project.search_objective() is not None
    return session.searches.anew and able and "alpha" not in chosen(session)


def use(session: Session, data: object) -> Recipe:
    """Return the recipe of a clicked cell, with the α that was found for it.

    Raises:
        RecipeError: there is no such cell, or it was not measured.
    """
    held, wanted = session.searches.sweep, data if isinstance(data, list) else [data]
    if held is not None:
        for point, cell in zip(held[1].points, held[1].cells, strict=True):
            if list(point) == wanted and cell.reached:
                return with_parameters(held[0], **cell.parameters)
    raise RecipeError("this cell is not in the sweep", "click another one")


def card(session: Session) -> dict[str, Any]:
    """Return the sweep with its controls."""
    held, error = session.searches.sweep, session.errors.get("sweep", "")
    running = session.runs(WHAT)
    piece: dict[str, Any] = {"title": "Sweep", "error": error, "controls": _controls(session, running)}
    if held is None:
        return piece | {"empty": "" if running or error else EMPTY}
    recipe, record = held
    swept = [name for name, _ in record.grid]
    labels = labels_of(record.method)
    free = (*swept, "alpha") if record.start["alpha"] == "search" else swept
    held_at = fixed_in_words(recipe, session.recipe, free)
    told = _told(record, running) + chip(held_at)
    shown = session.searches.shown
    figure = sweep_figure(
        record,
        Shown(
            "task" if shown.isdigit() else shown,
            int(shown) if shown.isdigit() else 0,
            session.project.sha256(session.recipe),
            session.project.sha256(session.pinned.recipe) if session.pinned else "",
            labels,
        ),
    )
    knobs = METHODS[record.method].knobs
    title = "Sweep over " + " and ".join(knobs[name].symbol or safe(knobs[name].label) for name in swept)
    return piece | {
        "title": title,
        "controls": piece["controls"] + told,
        "figure": figure,
        "picks": "sweep-cell",
        "held": held_at,
    }


def _told(record: Sweep, running: bool) -> str:
    """Return the progress of a sweep, or where it was stopped, as HTML; empty if it is complete."""
    reached, cells = record.reached, len(record.cells)
    if reached == cells:
        return ""
    if running:
        return chip(f"{reached} of {cells} cells")
    return chip(f"Stopped at {100 * reached // cells} %. Shown: {reached} of {cells} cells.")


def _controls(session: Session, running: bool) -> str:
    searches, knobs = session.searches, METHODS[session.recipe.method].knobs
    first, *rest = chosen(session)
    named = [(name, knob.label) for name, knob in knobs.items()]
    others = [("", "alone"), *((name, f"against {label}") for name, label in named if name != first)]
    steps = [(str(step), f"{step} steps") for step in STEPS]
    anew = searches_alpha(session)
    cells = math.prod(len(values) for values in grid_of(session).values())
    cost = about(cells * cell_seconds(session, chosen(session), anew))
    count = "1 cell" if cells == 1 else f"{cells} cells"
    press = button("halt", "Stop") if running else button("sweep", f"Sweep, {count}{cost}")
    found = [
        select("sweep-knob", "Knob", named, first),
        select("sweep-against", "Against", others, rest[0] if rest else ""),
        select("sweep-steps", "Steps of each knob", steps, str(searches.steps)),
        select("sweep-shown", "Shown", quantities(session), searches.shown),
    ]
    if session.project.search_objective() is not None and "alpha" not in chosen(session):
        hint = f"A fixed α can mislead where a knob changes the size of the merge; about {SEARCH_STEPS + 1} × the time"
        found.append(
            f'<label title="{safe(hint)}"><input type="checkbox" data-do="sweep-alpha"{" checked" if anew else ""}>'
            "<span>search α in each cell</span></label>"
        )
    return "".join(found) + press
