"""The limits of one visitor: the usual ones, and those of a workshop."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from esm_viz.core.errors import RecipeError

CALLS_AT_ONCE, MOST_CALLS = 12, 64  # requests of one session that run at once, and that run or wait
MOST_CONNECTIONS = 400  # of one network address, which a whole lecture hall may share
_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9}
_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?(kb|mb|gb)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one visitor.

    Attributes:
        uploads: total bytes of one session's uploads; 0 to turn uploads off.
        sessions: sessions of one network address; one more ends the session that was idle longest.
        trials: trials of one knob search, including those before it was resumed.
        cells: cells of one sweep.
    """

    uploads: int
    sessions: int
    trials: int
    cells: int


USUAL = Limits(uploads=8 * 10**9, sessions=100, trials=400, cells=169)
WORKSHOP = Limits(uploads=50 * 10**6, sessions=60, trials=40, cells=81)


def upload_size(text: str) -> int:
    """Return the bytes of a size such as `50 MB`, or 0 for `off`.

    Raises:
        RecipeError: it is neither.
    """
    if text.strip().lower() == "off":
        return 0
    match = _SIZE.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise RecipeError(f"--uploads is {text!r:.40}", "give a size as 50MB or 2GB, or off", "command line")
    return math.floor(float(match[1]) * _UNITS[match[2].lower()])
