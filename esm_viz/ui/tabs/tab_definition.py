"""The definition of a tab: its pieces, each with a function that returns its content, and its message handler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from esm_viz.ui.session.session_store import Session

Painter = Callable[[Session], dict[str, Any]]
Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """One component of the page.

    Attributes:
        name: name of the component, its HTML element and its grid area in the style sheet.
        kind: HTML made on the server, a figure, or the knobs.
        paint: returns the component's current content as plain JSON.
    """

    name: str
    kind: Literal["block", "card", "rail"]
    paint: Painter


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab of the page, or the header if the name is empty.

    Attributes:
        name: title of the tab.
        pieces: pieces in reading order.
        act: handles a message of any of its pieces and returns the names of the pieces to update.
        place: key of `Session.errors` for refused messages.
        arrive: called when the visitor opens the tab; returns the names of the pieces to update.
    """

    name: str
    pieces: tuple[Piece, ...]
    act: Callable[[Session, dict[str, Any]], Names]
    place: str = "rail"
    arrive: Callable[[Session], Names] | None = None
