"""The registry of questions: functions of an opened project, registered by decorators where they are defined.

A registered question becomes a method of `Project`. Its result may be recorded: a project with recorded results returns
them at once, while this machine still computes its own.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from esm_viz.stages.opened_project import OpenedProject

P = ParamSpec("P")
T = TypeVar("T")
QUESTIONS: dict[str, Callable[..., Any]] = {}
"""Every question by its name."""
_NOT_IDENTITY = ("project", "progress")  # arguments that the result does not depend on


def question(
    ask: Callable[Concatenate[OpenedProject, P], T],
) -> Callable[Concatenate[OpenedProject, P], T]:
    """Register a question whose result is never recorded, since its arguments cannot be written as a key.

    Args:
        ask: function of the project and the question's arguments.

    Raises:
        ValueError: there is already a question of that name.
    """
    name: str = ask.__name__
    if name in QUESTIONS:
        raise ValueError(f"two questions are named {name}")
    QUESTIONS[name] = ask
    return ask


def recorded_question(
    compute: Callable[Concatenate[OpenedProject, P], T],
) -> Callable[Concatenate[OpenedProject, P], T]:
    """Register a question whose result is a record, which is taken from the project's recorded results if possible.

    Args:
        compute: function of the project and the question's arguments, which are texts, numbers, recipes or progress.

    Raises:
        ValueError: there is already a question of that name.
    """
    signature = inspect.signature(compute)
    name: str = compute.__name__

    @wraps(compute)
    def ask(project: OpenedProject, /, *args: P.args, **kwargs: P.kwargs) -> T:
        recorded = project.recorded  # read once, since another thread may set it to None
        if recorded is None:
            return compute(project, *args, **kwargs)
        bound = signature.bind(project, *args, **kwargs)
        bound.apply_defaults()
        asked = {key: value for key, value in bound.arguments.items() if key not in _NOT_IDENTITY}
        identity = json.dumps({"question": name, **project.identity(asked)}, ensure_ascii=False)
        kind = typing.get_type_hints(compute)["return"]
        return recorded.give(identity, kind, lambda: compute(project, *args, **kwargs))

    return question(typing.cast("Callable[Concatenate[OpenedProject, P], T]", ask))
