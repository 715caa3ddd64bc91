"""The share link: the state of a page as short JSON in a URL's query; files appear only by their digest.

Anybody can write a link. Types and sizes are checked here; the meaning of the values is checked by the same handlers
as for clicks (`share_link_actions.follow`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Value
from esm_viz.merge import METHODS, settle
from esm_viz.ui.session.session_store import Session, View
from esm_viz.ui.session.task_weight import with_weight

LONGEST = 8000  # characters of a link's state; browsers and proxies cut longer addresses
MOST_ENTRIES = 200  # knobs, or weights
DIGITS = 16  # of the files' SHA-256, enough to distinguish projects


@dataclass(frozen=True, slots=True)
class Merge:
    """A method with the knobs and weights that differ from their defaults."""

    method: str
    knobs: Mapping[str, Value]
    weights: Mapping[str, float]

    def on(self, recipe: Recipe) -> Recipe:
        """Return this merge of a recipe's files.

        Raises:
            RecipeError: a method, knob or task is unknown, or a value is out of range.
        """
        if self.knobs.get("alpha") == "search":
            raise RecipeError("alpha is 'search' in this link", "use the button that searches it")
        merged = settle(recipe.replace(method=self.method, parameters=self.knobs))
        for task in recipe.tasks:
            merged = with_weight(merged, task, self.weights.get(task, 1.0))
        for task in self.weights.keys() - set(recipe.tasks):
            with_weight(merged, task, 1.0)  # raises for an unknown task
        return merged


@dataclass(frozen=True, slots=True)
class Link:
    """The state in a link.

    Attributes:
        project, files: the project's name, and the first digits of its files' SHA-256.
        merge: the merge on screen.
        pinned: the state A; None if nothing is pinned.
        views: settings of Explore by the message of its handler: map kind, spectrum, family, direction.
        cell, pair: selected task and layer, and selected two tasks; empty without a selection.
    """

    project: str
    files: str
    merge: Merge
    pinned: Merge | None
    views: Mapping[str, str]
    cell: tuple[str, ...]
    pair: tuple[str, ...]


VIEWS = {"kind": "map", "view": "spectrum", "family": "family", "direction": "direction"}  # message -> word in a link


def merge_of(recipe: Recipe) -> Merge:
    """Return a recipe's method, with the knobs and weights that differ from their defaults."""
    defaults = METHODS[recipe.method].defaults
    knobs = {name: value for name, value in recipe.parameters.items() if value != defaults[name]}
    return Merge(recipe.method, knobs, {model.name: model.weight for model in recipe.models if model.weight != 1.0})


def link_of(session: Session) -> Link:
    """Return the state of a session for a link."""
    view, plain = session.view, View()
    now = {"kind": view.kind, "view": view.spectrum, "family": view.family, "direction": str(view.direction)}
    usual = {"kind": plain.kind, "view": plain.spectrum, "family": plain.family, "direction": str(plain.direction)}
    return Link(
        project=session.name,
        files=files_of(session),
        merge=merge_of(session.recipe),
        pinned=merge_of(session.pinned.recipe) if session.pinned else None,
        views={do: value for do, value in now.items() if value != usual[do]},
        cell=view.cell or (),
        pair=view.pair or (),
    )


def files_of(session: Session) -> str:
    """Return the digits of the files' SHA-256 that a link contains."""
    return session.project.files_sha256[:DIGITS]


def write(link: Link) -> str:
    """Return a link's state as compact JSON."""
    told: dict[str, Any] = {
        "project": link.project,
        "files": link.files,
        **_merge_words(link.merge),
        **{VIEWS[do]: value for do, value in link.views.items()},
        "cell": list(link.cell),
        "pair": list(link.pair),
        "A": _merge_words(link.pinned) if link.pinned else {},
    }
    kept = {key: value for key, value in told.items() if value not in ({}, [])}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def read(text: str, longest: int = LONGEST) -> Link:
    """Parse and check a link's state of at most `longest` characters.

    Raises:
        RecipeError: it is not a valid link.
    """
    if len(text) > longest:
        _broken("it is too long")
    try:
        raw = json.loads(text, parse_constant=lambda _: _broken("it holds something that is no number"))
    except (ValueError, RecursionError):
        _broken("it is not whole")
    top = _mapping(raw, {"project", "files", "method", "knobs", "weights", "cell", "pair", "A", *VIEWS.values()})
    pinned = top.get("A")
    return Link(
        project=_word(top.get("project")),
        files=_word(top.get("files")),
        merge=_merge(top),
        pinned=_merge(_mapping(pinned, {"method", "knobs", "weights"})) if pinned is not None else None,
        views={do: _word(top[word]) for do, word in VIEWS.items() if word in top},
        cell=_two(top.get("cell")),
        pair=_two(top.get("pair")),
    )


def _merge_words(merge: Merge) -> dict[str, Any]:
    words = {"method": merge.method, "knobs": dict(merge.knobs), "weights": dict(merge.weights)}
    return {key: value for key, value in words.items() if value}


def _merge(raw: Mapping[str, Any]) -> Merge:
    knobs, weights = _entries(raw.get("knobs", {})), _entries(raw.get("weights", {}))
    numbers = {task: float(value) for task, value in weights.items() if not isinstance(value, str)}
    if numbers.keys() != weights.keys():
        _broken("a weight is no number")
    return Merge(_word(raw.get("method")), knobs, numbers)


def _entries(raw: object) -> dict[str, Value]:
    if not isinstance(raw, dict) or len(raw) > MOST_ENTRIES:
        _broken("its knobs or weights are no short list")
    return {name: _value(value) for name, value in raw.items()}


def _value(raw: object) -> Value:
    if isinstance(raw, str):
        return _word(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not abs(raw) < 1e9 or not math.isfinite(raw):
        _broken("a value is neither number nor word")
    return raw


def _mapping(raw: object, allowed: set[str]) -> dict[str, Any]:
    if not isinstance(raw, dict) or raw.keys() - allowed:
        _broken("it holds what no link of this version does")
    return raw


def _two(raw: object) -> tuple[str, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list) or len(raw) != 2:
        _broken("a selection is not two names")
    return _name(raw[0]), _name(raw[1])


def _word(raw: object) -> str:
    text = _name(raw)
    if len(text) > 80:
        _broken("a word is too long")
    return text


def _name(raw: object) -> str:
    if not isinstance(raw, str) or not raw or len(raw) > 300 or not raw.isprintable():
        _broken("a word is missing or unreadable")
    return raw


def _broken(why: str) -> NoReturn:
    raise RecipeError(f"This link cannot be used: {why}", "ask for a new one")
