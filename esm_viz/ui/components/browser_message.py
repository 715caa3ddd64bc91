"""The check of a browser's message, which may hold only a few short texts and numbers."""

from __future__ import annotations

import math
from typing import Any

MOST_ENTRIES = 16
MOST_ITEMS = 8  # of a list
LONGEST = 300  # characters of a word
LARGEST = 1 << 53  # whole numbers that JavaScript writes exactly


def checked_fields(raw: object) -> dict[str, Any]:
    """Return a message's entries that are small and plain; others are ignored."""
    if not isinstance(raw, dict) or len(raw) > MOST_ENTRIES:
        return {}
    return {key: value for key, value in raw.items() if _is_word(key) and _is_small(value)}


def number(message: dict[str, Any], key: str, most: int) -> int | None:
    """Return a whole number in a message, clipped to 0 … `most`; None if there is none."""
    value = message.get(key)
    return min(max(value, 0), most) if type(value) is int else None


def word(message: dict[str, Any], key: str) -> str | None:
    """Return a text in a message; None if there is none."""
    value = message.get(key)
    return value if isinstance(value, str) else None


def _is_small(value: object) -> bool:
    if isinstance(value, list):
        return len(value) <= MOST_ITEMS and all(_is_plain(item) for item in value)
    return _is_plain(value)


def _is_plain(value: object) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return abs(value) <= LARGEST and math.isfinite(value)
    return _is_word(value)


def _is_word(value: object) -> bool:
    """Say whether a value is a short text without lone surrogates, which cannot be encoded."""
    return isinstance(value, str) and len(value) <= LONGEST and not any("\ud800" <= half <= "\udfff" for half in value)
