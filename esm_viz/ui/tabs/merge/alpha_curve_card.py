"""The card with the curve of accuracy over α, drawn on demand; α searches add their measurements to it."""

from __future__ import annotations

from typing import Any

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import AlphaCurve, BetweenPoints, Evaluation, ExpertAgreement
from esm_viz.figures import curve_figure
from esm_viz.figures.number_format import percent, short
from esm_viz.merge import with_parameters
from esm_viz.search.alpha_search import CURVE_POINTS
from esm_viz.ui.components.html_snippets import button, chip
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session.search_time_estimate import about, evaluation_seconds
from esm_viz.ui.session.session_jobs import keep, start, wait_for_live
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.tabs.merge.history_diff import fixed_in_words
from esm_viz.ui.tabs.merge.live_preview import FIRST

WHAT = "Drawing the α curve"
QUICK_SHARE = 0.15  # of the progress, for the first pass on few images
EMPTY = "Not drawn yet. Each value of α is measured as Search α does: on validation images, or on unlabelled proxies."
UNLABELLED = "No labelled validation images and no proxies. Add either to the recipe to measure over α."


def draw(session: Session) -> None:
    """Measure the recipe over α, first on a few images to show the shape early, then on all."""
    recipe = session.recipe

    def work(job: Job) -> None:
        quick = 0.0 if _measured_on_all(session, recipe) else QUICK_SHARE
        for limit, begin, share in ((FIRST, 0.0, quick), (0, quick, 1 - quick)):
            if share:
                inside = job.progress.part(begin, begin + share)
                session.project.alpha_curve(recipe, limit, inside, lambda point: add(session, job, recipe, point))

    start(session, WHAT, work, "curve", ("curve",))


def add(session: Session, job: Job, recipe: Recipe, point: Evaluation | ExpertAgreement) -> None:
    """Add a measured point to the curve of its recipe; the first point replaces another recipe's curve.

    Raises:
        Cancelled: the job was cancelled.
    """

    def write() -> None:
        held, own = session.searches.curve, any_alpha(recipe)
        old = held[1] if held is not None and held[0] == own else AlphaCurve()
        session.searches.curve = own, old.with_point(point)

    keep(session, job, ("curve",), write)
    wait_for_live(session, job)


def any_alpha(recipe: Recipe) -> Recipe:
    """Return the recipe with α = 1, which all recipes on one curve share."""
    return with_parameters(recipe, alpha=1.0)


def between_points(session: Session) -> BetweenPoints | None:
    """Return accuracy at the α on screen between the two measured beside it, those of the curve or of the history."""
    own, held = any_alpha(session.recipe), session.searches.curve
    known = held[1] if held is not None and held[0] == own else AlphaCurve()
    for state in session.history:
        if state.evaluation is not None and any_alpha(state.recipe) == own:
            known = known.with_point(state.evaluation)
    return known.between(float(session.recipe.parameters["alpha"]))


def _measured_on_all(session: Session, recipe: Recipe) -> bool:
    held = session.searches.curve
    return held is not None and held[0] == any_alpha(recipe) and any(not point.limit for point in held[1].points)


def use(session: Session, data: object) -> Recipe:
    """Return the recipe of a clicked point.

    Raises:
        RecipeError: there is no such point.
    """
    held = session.searches.curve
    points = held[1].points if held else ()
    point = next((point for point in points if point.alpha == data), None)
    if held is None or point is None:
        raise RecipeError("this point is not on the curve", "click another one")
    return with_parameters(held[0], alpha=point.alpha)


def card(session: Session) -> dict[str, Any]:
    """Return the curve with its button."""
    objective = session.project.search_objective()
    title = "Accuracy over α" if objective == "normalised" else "Agreement with the experts over α"
    piece: dict[str, Any] = {"title": title, "error": session.errors.get("curve", "")}
    if objective is None:
        return piece | {"empty": UNLABELLED}
    cost = about(CURVE_POINTS * evaluation_seconds(session))
    running = session.runs(WHAT)
    press = button("halt", "Stop") if running else button("draw", f"Draw the α curve{cost}")
    held = session.searches.curve
    if held is None:
        return piece | {"controls": press, "empty": "" if running or piece["error"] else EMPTY}
    recipe, curve = held
    here = recipe == any_alpha(session.recipe)
    pinned = session.pinned.recipe if session.pinned else None
    held_at = fixed_in_words(recipe, session.recipe, ("alpha",))
    figure = curve_figure(
        curve,
        float(session.recipe.parameters["alpha"]) if here else None,
        float(pinned.parameters["alpha"]) if pinned and any_alpha(pinned) == recipe else None,
    )
    controls = press + chip(held_at) + _searched(session, recipe)
    return piece | {"controls": controls, "figure": figure, "picks": "curve", "held": held_at}


def _searched(session: Session, recipe: Recipe) -> str:
    """Say which α the search chose, by what, and on which images."""
    if session.search is None or any_alpha(session.search[0]) != recipe:
        return ""
    found = session.search[1]
    chose = f"Search α chose {short(found.alpha)}"
    if found.search_on == "normalised":
        return chip(f"{chose}: {percent(found.value, 1)} % of the experts on {found.images} validation images")
    measure = "KL" if found.search_on == "divergence" else "feature direction"
    return chip(f"{chose}: {measure} {abs(found.value):.3f} on {found.images} unlabelled images")
