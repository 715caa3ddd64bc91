"""Answers given before: a project shows them at once, while this machine still computes its own.

The demo ships the answers that its opening page asks for. Each is kept under its question: the method, its arguments,
and the SHA-256 of whatever it depends on, so that an answer of other files is never found. A test of the suite computes
every shipped answer again.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import msgspec

from esm_viz.version import __version__

P = ParamSpec("P")
T = TypeVar("T")


class Answers:
    """Answers as plain data, by their questions."""

    def __init__(self, plain: Mapping[str, Any] | None = None) -> None:
        """Keep these answers; without any, write down those that are given from now on."""
        self.plain = dict(plain or {})
        self._writes = plain is None

    @classmethod
    def read(cls, path: Path) -> Answers | None:
        """Return the answers in a file; None where there is none, or it is of another version."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(raw["answers"]) if raw["version"] == __version__ else None

    def write(self, path: Path) -> None:
        """Write the answers to a file, with the version whose numbers they are."""
        text = json.dumps({"version": __version__, "answers": self.plain}, ensure_ascii=False, separators=(",", ":"))
        path.write_text(text.replace('},"{', '},\n"{') + "\n", encoding="utf-8")

    def give(self, question: str, kind: type[T], compute: Callable[[], T]) -> T:
        """Return the answer to a question, computed where it is not known."""
        if question in self.plain:
            return restored(kind, self.plain[question])
        answer = compute()
        if self._writes:
            self.plain[question] = plain(answer)
        return answer


class Asked(Protocol):
    """What can recall: it has answers or None, and names what a question's answer depends on."""

    answers: Answers | None

    def identity(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments with digests in the place of what is in files."""
        ...


A = TypeVar("A", bound=Asked)


def recalled(method: Callable[Concatenate[A, P], T]) -> Callable[Concatenate[A, P], T]:
    """Let a method answer from what was computed before, where that is known."""
    signature = inspect.signature(method)
    name: str = method.__name__

    @wraps(method)
    def ask(self: A, *args: P.args, **kwargs: P.kwargs) -> T:
        answers = self.answers  # once: another thread may put it away
        if answers is None:
            return method(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        asked = {key: value for key, value in bound.arguments.items() if key not in ("self", "report")}
        question = json.dumps({"question": name, **self.identity(asked)}, ensure_ascii=False)
        kind = typing.get_type_hints(method)["return"]
        return answers.give(question, kind, lambda: method(self, *args, **kwargs))

    return typing.cast("Callable[Concatenate[A, P], T]", ask)


def plain(record: Any) -> Any:
    """Return a record as plain data; for `json`, which keeps NaN and infinities as msgspec's own writer does not."""
    return msgspec.to_builtins(record, enc_hook=dict)  # a read-only mapping is the only thing that it does not know


def restored(kind: type[T], raw: Any) -> T:
    """Return the record of this type that `plain` wrote.

    Raises:
        msgspec.ValidationError: it is of another form.
    """
    return msgspec.convert(raw, kind)
