"""Results recorded on another machine, which a project shows at once while this machine still computes its own.

The demo ships the results of its opening page. Each has a key made of the question's name, its arguments and the
SHA-256 of everything it depends on, so a result of other files is never shown. A test recomputes all of them.
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
    """Results as plain data, by the keys of their questions."""

    def __init__(self, plain: Mapping[str, Any] | None = None) -> None:
        """Keep these results; if None, record the results that are computed from now on."""
        self.plain = dict(plain or {})
        self._writes = plain is None

    @classmethod
    def read(cls, path: Path) -> RecordedResults | None:
        """Return the results in a file; None if there is no file or it is from another version."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(raw["answers"]) if raw["version"] == __version__ else None

    def write(self, path: Path) -> None:
        """Write the results to a file, with the version that computed them."""
        text = json.dumps({"version": __version__, "answers": self.plain}, ensure_ascii=False, separators=(",", ":"))
        path.write_text(text.replace('},"{', '},\n"{') + "\n", encoding="utf-8")

    def give(self, question: str, kind: type[T], compute: Callable[[], T]) -> T:
        """Return the recorded result of a question, or compute it."""
        if question in self.plain:
            return restored(kind, self.plain[question])
        result = compute()
        if self._writes:
            self.plain[question] = as_plain_data(result)
        return result


def as_plain_data(record: Any) -> Any:
    """Return a record as plain data to be written by `json`, which keeps NaN and infinities, unlike msgspec."""
    return msgspec.to_builtins(record, enc_hook=dict)  # the hook is for read-only mappings


def restored(kind: type[T], raw: Any) -> T:
    """Return the record of this type from the plain data of `as_plain_data`.

    Raises:
        msgspec.ValidationError: the data do not fit the type.
    """
    return msgspec.convert(raw, kind)
