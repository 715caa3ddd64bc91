"""The Evaluate tab: all methods on the same test images, flips between A and B, confusions, and routing."""

from __future__ import annotations

from typing import Any

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import REFERENCES
from esm_viz.figures import accuracy_figure, confusion_figure
from esm_viz.figures.number_format import safe
from esm_viz.merge import METHODS
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.tabs.evaluate import agreement_board
from esm_viz.ui.tabs.evaluate.compare_all_methods import compare_all
from esm_viz.ui.tabs.evaluate.comparison_with_a import (
    BOARD,
    CHOICES,
    choice_of,
    compare_models_and_wait,
    enlarge_flip,
    enlarge_routed,
    fresh,
    routed_row,
    row_on_screen,
    task_of,
)
from esm_viz.ui.tabs.evaluate.flips_card import MODELS, flips, task_choice
from esm_viz.ui.tabs.evaluate.leaderboard_table import board, key_of
from esm_viz.ui.tabs.evaluate.routing_card import routing
from esm_viz.ui.tabs.merge.live_preview import LIVE, SCORES, set_recipe
from esm_viz.ui.tabs.tab_definition import Piece, Tab

MOST_DIGITS = 9  # of an image's index
NO_LABELS = "No labelled test images. Add them to the recipe to see accuracy."


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Handle a message: compare all methods, use a row's recipe, or choose a task, a model, an image, layer or route.

    Raises:
        RecipeError: there is no such task, model, image, layer, route or row.
    """
    do, value, data = message.get("do"), message.get("value"), message.get("data")
    session.errors.pop("board", None)
    if do == "compare":
        compare_all(session)
    elif do == "row":
        set_recipe(session, _recipe_of(session, message.get("row")))
        compare_models_and_wait(session)
    elif do == "task":
        _choose_task(session, data if isinstance(data, str) else value)
    elif do in ("against", "confused"):
        choices = CHOICES if do == "confused" else ("a", *REFERENCES)
        if not isinstance(value, str) or value not in choices:
            raise RecipeError("there is no such model", f"use {', '.join(choices)}")
        setattr(session.view, do, value)
        session.view.image = -1
        compare_models_and_wait(session)
    elif do == "image":
        enlarge_flip(session, _index(message.get("index")))
    elif do == "routed_image":
        enlarge_routed(session, _index(message.get("index")))
    elif do == "route":
        _choose_route(session, data)
    elif do == "look":
        compare_models_and_wait(session)
    elif do == "routes":
        session.view.routes = "where" if value == "where" else "layers"
    elif do == "routed":
        _choose_layer(session, data[1] if isinstance(data, list) and len(data) == 2 else value)
    return (*BOARD, *LIVE, *SCORES) if do in ("row", "compare") else BOARD


def arrive(session: Session) -> tuple[str, ...]:
    """Measure the recipe on screen when the visitor opens the tab."""
    compare_models_and_wait(session)
    return BOARD


def _recipe_of(session: Session, key: object) -> Recipe:
    """Return the recipe of a row of the leaderboard, with or without labels."""
    keys = {key_of(row): row.recipe for row in session.board}
    keys |= {agreement_board.key_of(row): row.recipe for row in session.agreement_board}
    if not isinstance(key, str) or key not in keys:
        raise RecipeError("this row is gone", "click another one")
    return keys[key]


def _choose_task(session: Session, task: object) -> None:
    if task not in session.project.tasks:
        raise RecipeError("there is no such task", f"use {', '.join(session.project.tasks)}")
    session.view.task, session.view.image = str(task), -1
    compare_models_and_wait(session)


def _choose_layer(session: Session, name: object) -> None:
    found = routed_row(session)
    names = [layer.name for layer in found[1].layers] if found else []
    if name not in ("", *names):
        raise RecipeError("there is no such routed layer", "reload the page")
    session.view.routed, session.view.routes, session.view.routed_image = str(name), "where", -1
    compare_models_and_wait(session)


def _choose_route(session: Session, data: object) -> None:
    tasks = session.project.tasks
    if not (isinstance(data, list) and len(data) == 2 and all(name in tasks for name in data)):
        raise RecipeError("there is no such route", f"use two of {', '.join(tasks)}")
    session.view.route, session.view.routed_image = (data[0], data[1]), -1
    compare_models_and_wait(session)


def _index(value: object) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise RecipeError("there is no such image", "click another one")
    return int(text)


def _age(session: Session, shown: bool) -> str:
    """Say whether a picture is of what is selected, will be, or after a refusal will not."""
    return "" if shown else "stopped" if "flips" in session.errors else "updating"


def _waiting(session: Session) -> str:
    """Say what there is to see before anything was measured."""
    return "Stopped." if "flips" in session.errors else "Measuring test images…"


def bars(session: Session) -> dict[str, Any]:
    """Return the bar chart of the recipe on screen, the pre-trained model and the experts."""
    row = row_on_screen(session)
    card: dict[str, Any] = {"title": f"{safe(METHODS[session.recipe.method].title)} on test images", "picks": "task"}
    if row is not None:
        gains = session.comparison_records["gains"][1] if fresh(session, "gains") else None
        return card | {"figure": accuracy_figure(row.evaluation, base=True, difference=gains)}
    if not session.project.has_labels("test"):
        return card | {"empty": NO_LABELS}
    if not session.board:
        return card | {"empty": _waiting(session)}
    return card | {"figure": accuracy_figure(session.board[-1].evaluation, base=True), "stale": _age(session, False)}


def confusion(session: Session) -> dict[str, Any]:
    """Return the confusion matrix of the chosen task."""
    task = task_of(session)
    choices = ["b", *(["a"] if session.pinned else []), *REFERENCES]
    card: dict[str, Any] = {
        "title": f"Predictions on {safe(task)}",
        "choices": [[choice, MODELS[choice]] for choice in choices],
        "chosen": choice_of(session, session.view.confused),
        "switch": "confused",
        "controls": task_choice(session),
    }
    if not session.project.has_labels("test"):
        return card | {"empty": NO_LABELS}
    if "confusion" not in session.comparison_records:
        return card | {"empty": _waiting(session)}
    stale = _age(session, fresh(session, "confusion"))
    return card | {"figure": confusion_figure(session.comparison_records["confusion"][1]), "stale": stale}


TAB = Tab(
    "Evaluate",
    (
        Piece("board", "block", board),
        Piece("bars", "card", bars),
        Piece("flips", "block", flips),
        Piece("confusion", "card", confusion),
        Piece("routing", "card", routing),
    ),
    act,
    "board",
    arrive,
)
