"""Formatting of numbers, used by all tables, figures and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

DASH = "–"


def minus(text: str) -> str:
    """Return a text with minus signs in place of hyphens."""
    return text.replace("-", "−")


def number(value: float, digits: int = 2) -> str:
    """Write a number, or a dash where there is none."""
    return DASH if math.isnan(value) else minus(f"{value:.{digits}f}")


def signed(value: float, digits: int = 2) -> str:
    """Write a difference with its sign; what rounds to zero has none."""
    if math.isnan(value):
        return DASH
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else "−") + text


def percent(share: float, digits: int = 0) -> str:
    """Write a share in [0, 1] in per cent, without the sign."""
    return DASH if math.isnan(share) else f"{100 * share:.{digits}f}"


def counted(numbers: Iterable[int]) -> str:
    """Return the range of some counts as text, or the count if all are equal."""
    known = sorted(set(numbers))
    return "0" if not known else f"{known[0]}" if len(known) == 1 else f"{known[0]} to {known[-1]}"


def capitalized(sentence: str) -> str:
    """Return a sentence with a capital first letter, all others as they are."""
    return sentence[:1].upper() + sentence[1:]


def short(value: float) -> str:
    """Return a number with three significant figures."""
    if math.isnan(value):
        return DASH
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    return minus(f"{value:.{digits}f}")


def safe(text: str) -> str:
    """Return a text escaped for labels that are read as HTML."""
    return escape(text, quote=True)


def setting(value: float | str) -> str:
    """Write a knob's value, a number or a word, for a label that reads HTML."""
    return safe(value) if isinstance(value, str) else minus(f"{value:g}")


def duration(seconds: float) -> str:
    """Write a time for people: under 1 s, 12 s, 4 min, 2.5 h; a dash where there is none."""
    if math.isnan(seconds):
        return DASH
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Return a number of bytes with a unit: 4.9 MB."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def ends(text: str, most: int) -> str:
    """Return a text of more than `most` characters shortened to its two ends."""
    return f"{text[:10]}…{text[-6:]}" if len(text) > most and " " not in text else text
