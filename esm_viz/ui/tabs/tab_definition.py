"""What a tab is: pieces, each with the function that paints it, and what its messages do."""

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
        name: of the component, its element and its grid area in the style sheet.
        kind: HTML made on the server, one picture with its numbers, or the rail of knobs.
        paint: returns what the component shows now, as plain JSON.
    """

    name: str
    kind: Literal["block", "card", "rail"]
    paint: Painter


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab of the page, or its header where the name is empty.

    Attributes:
        name: as it stands on the tab.
        pieces: in reading order.
        act: carries out a message of any of its pieces and names the pieces to paint.
        place: key of `Session.errors` under which a refused message is told.
        arrive: runs when the visitor comes to the tab and names the pieces to paint.
    """

    name: str
    pieces: tuple[Piece, ...]
    act: Callable[[Session, dict[str, Any]], Names]
    place: str = "rail"
    arrive: Callable[[Session], Names] | None = None
