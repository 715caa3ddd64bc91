"""Results recorded on another machine: a project shows them at once, while this machine still computes its own.

The demo ships the results that its opening page shows. Each is kept under its question: the name, the arguments and the
SHA-256 of whatever it depends on, so that a result of other files is never shown. A test computes every one again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from esm_viz.version import __version__

T = TypeVar("T")


class RecordedResults:
    """Results as plain data, by their questions."""

    def __init__(self, plain: Mapping[str, Any] | None = None) -> None:
        """Keep these results; without any, record those that are computed from now on."""
        self.plain = dict(plain or {})
        self._writes = plain is None

    @classmethod
    def read(cls, path: Path) -> RecordedResults | None:
        """Return the results in a file; None where there is none, or it is of another version."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(raw["answers"]) if raw["version"] == __version__ else None

    def write(self, path: Path) -> None:
        """Write the results to a file, with the version whose numbers they are."""
        text = json.dumps({"version": __version__, "answers": self.plain}, ensure_ascii=False, separators=(",", ":"))
        path.write_text(text.replace('},"{', '},\n"{') + "\n", encoding="utf-8")

    def give(self, question: str, kind: type[T], compute: Callable[[], T]) -> T:
        """Return the result of a question, computed where it is not known."""
        if question in self.plain:
            return restored(kind, self.plain[question])
        result = compute()
        if self._writes:
            self.plain[question] = as_plain_data(result)
        return result


def as_plain_data(record: Any) -> Any:
    """Return a record as plain data; for `json`, which keeps NaN and infinities as msgspec's own writer does not."""
    return msgspec.to_builtins(record, enc_hook=dict)  # a read-only mapping is the only thing that it does not know


def restored(kind: type[T], raw: Any) -> T:
    """Return the record of this type that `as_plain_data` made.

    Raises:
        msgspec.ValidationError: it is of another form.
    """
    return msgspec.convert(raw, kind)
