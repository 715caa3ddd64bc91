"""The form of the source Names: the base's name, and those of its fine-tunes."""

from __future__ import annotations

from typing import Any

from esm_viz.figures.number_format import safe
from esm_viz.ui.components.browser_message import LONGEST, MOST_ITEMS
from esm_viz.ui.components.html_snippets import button

MOST_TYPED = LONGEST * MOST_ITEMS  # characters; longer texts do not fit into a message
ABOUT = (
    "Names on a hub, <code>OWNER/NAME</code> or a link to its page: headers are read first, and nothing is downloaded "
    "before you say so."
)
_MODELS = (
    "OWNER/NAME, one a line, or all that fit: OWNER/NAME_*\nafter a name its images: proxies=OWNER/NAME/SPLIT "
    "test=OWNER/NAME/SPLIT\nthe papers’ tasks have theirs already"
)


def form(base: str, models: str) -> str:
    """Return the form with what was typed before.

    Args:
        base: the base's name.
        models: the fine-tunes' names, one a line.
    """
    return (
        '<div class="names" data-form><label>Base<input class="text" data-field="base" spellcheck="false" '
        f'maxlength="{LONGEST}" placeholder="OWNER/NAME" value="{safe(base)}"></label>'
        '<label>Fine-tunes<textarea class="text" data-field="models" rows="3" spellcheck="false" '
        f'maxlength="{MOST_TYPED}" placeholder="{safe(_MODELS)}">\n{safe(models)}</textarea></label>'
        f"{button('names', 'Read their headers', 'pri')}</div>"
    )


def typed(message: dict[str, Any], key: str) -> str:
    """Return the text of a field, which a message holds in pieces; empty without one."""
    pieces = message.get(key)
    return "".join(piece for piece in pieces if isinstance(piece, str)) if isinstance(pieces, list) else ""
