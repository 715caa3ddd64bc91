"""The file with the trials of a knob search, from which a stopped search resumes.

Optuna's own storages keep no random state, so a resumed search would draw its first points again; its journal is broken
by a half-written line; and both trust what they read. So trials are kept in a JSON file, which is written atomically
after each trial and checked like any other input.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esm_viz.checkpoints.atomic_write import expect_writable, write_text
from esm_viz.core.errors import EsmVizError, RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Knob, KnobTrial
from esm_viz.merge import METHODS, with_parameters

LARGEST_STORAGE = 1 << 22  # bytes; a trial needs about 300
_FORMAT = "esm_viz knob search 1"
Space = Mapping[str, Knob]


@dataclass(frozen=True, slots=True)
class Storage:
    """A file that keeps the trials of one search.

    Attributes:
        path: path of the file, which is made with the first trial.
        identity: digests and settings that the trials depend on, by their names in error messages.
    """

    path: Path
    identity: Mapping[str, Any]

    def read(self, start: Recipe, space: Space) -> list[KnobTrial]:
        """Return the trials kept so far; empty if there is no file yet.

        Raises:
            RecipeError: the file is not a storage, or belongs to another search.
            ExportError: there is no file, and none can be written.
        """
        if not os.path.lexists(self.path):
            expect_writable(self.path)
            return []
        try:
            if not self.path.is_file() or self.path.stat().st_size > LARGEST_STORAGE:
                raise ValueError
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            if kept["format"] != _FORMAT or not isinstance(kept["search"], dict):
                raise ValueError
            others = [name for name, value in self.identity.items() if kept["search"].get(name) != value]
            raw = [] if others else kept["trials"]
            trials = [_trial(each, start, space if at else {}) for at, each in enumerate(raw)]  # the first is the start
            if trials and math.isnan(trials[0].value):
                raise ValueError
        except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError, EsmVizError) as error:
            raise RecipeError("this is no storage of a knob search", "give another file", self.path.name) from error
        if others:
            what = f"the storage is of another search, it differs in {' and '.join(others)}"
            raise RecipeError(what, "give another file", self.path.name)
        return trials

    def write(self, trials: Sequence[KnobTrial]) -> None:
        """Write all trials atomically, so that the file is valid whenever the search is stopped."""
        kept = [{"parameters": dict(t.parameters), "value": None if math.isnan(t.value) else t.value} for t in trials]
        text = json.dumps({"format": _FORMAT, "search": self.identity, "trials": kept}, indent=1, ensure_ascii=False)
        write_text(self.path, text)


def _trial(raw: Mapping[str, Any], start: Recipe, space: Space) -> KnobTrial:
    """Return a trial from a file, with its parameters checked.

    Raises:
        ValueError: a value is not a number, or a knob that is not searched has another value.
        RecipeError: a parameter is unknown or out of range.
    """
    parameters = with_parameters(start, **raw["parameters"]).parameters
    knobs, value = METHODS[start.method].knobs, math.nan if raw["value"] is None else raw["value"]
    if type(value) not in (int, float) or math.isinf(value) or set(raw["parameters"]) != set(parameters):
        raise ValueError
    words = [name for name, knob in knobs.items() if parameters[name] == knob.word]  # not a number yet
    fixed = [name for name, own in start.parameters.items() if name not in space and own != knobs[name].word]
    if (words and not math.isnan(value)) or any(parameters[name] != start.parameters[name] for name in fixed):
        raise ValueError
    return KnobTrial(parameters, float(value))
