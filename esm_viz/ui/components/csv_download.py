"""Tables as CSV: the link that saves one, and texts that a spreadsheet must not run."""

from __future__ import annotations

import base64

from esm_viz.ui.components.html_snippets import DOWNLOAD

FORMULA = ("=", "+", "-", "@")  # first characters of texts that a spreadsheet would run as a formula


def cell_text(text: str) -> str:
    """Return a text of a user so that no spreadsheet runs it as a formula."""
    return f"'{text}" if text[:1] in FORMULA else text


def csv_link(text: str, file: str) -> str:
    """Return the link that saves a table under a file name; the data are in the page."""
    data = base64.b64encode(text.encode()).decode()
    return (
        f'<a class="btn q sq" href="data:text/csv;base64,{data}" download="{file}" '
        f'title="Numbers as CSV" aria-label="Download the leaderboard as CSV">{DOWNLOAD}</a>'
    )
