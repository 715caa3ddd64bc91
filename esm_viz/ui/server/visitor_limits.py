"""How much one visitor may ask of a server: usual limits, and those for a room of strangers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from esm_viz.core.errors import RecipeError

CALLS_AT_ONCE, MOST_CALLS = 12, 64  # requests of one session that are carried out at once, and with those that wait
MOST_CONNECTIONS = 400  # of one network address: a lecture hall behind one router has one address
_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9}
_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?(kb|mb|gb)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one visitor may have.

    Attributes:
        uploads: bytes that one session may bring in all; 0 where nobody may upload.
        sessions: of one network address; with one more the one that was idle longest ends.
        trials: of one search over several knobs, all its continuations together.
        cells: of one sweep.
    """

    uploads: int
    sessions: int
    trials: int
    cells: int


USUAL = Limits(uploads=8 * 10**9, sessions=100, trials=400, cells=169)
WORKSHOP = Limits(uploads=50 * 10**6, sessions=60, trials=40, cells=81)


def upload_size(text: str) -> int:
    """Read a size as people write it, `50 MB` or `off`, as bytes.

    Raises:
        RecipeError: it is neither.
    """
    if text.strip().lower() == "off":
        return 0
    match = _SIZE.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise RecipeError(f"--uploads is {text!r:.40}", "give a size as 50MB or 2GB, or off", "command line")
    return math.floor(float(match[1]) * _UNITS[match[2].lower()])
