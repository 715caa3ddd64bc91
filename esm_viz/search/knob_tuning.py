"""The search over several knobs at once: Optuna's TPE, seeded, stoppable, resumable.

A proposal is a function of the seed, its number and the trials before it, so 5 trials and then 10 are the same 10 as in
one go. Optuna's own storages keep no random state (a resumed search draws its first points again), its journal is
spoilt by a half-written line, and both trust what they read. So trials are kept in a plain JSON file, written whole
after each one and judged like any other input, and Optuna is told of them anew for each proposal.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esm_viz.checkpoints.atomic_write import expect_writable, write_text
from esm_viz.core.errors import Cancelled, EsmVizError, NumericsError, RecipeError, SearchStopped
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Knob, KnobSearch, KnobTrial, Report, Value, unseen
from esm_viz.merge import METHODS, knob_of, with_parameters

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MOST_TRIALS = 1000
LARGEST_STORAGE = 1 << 22  # bytes; a trial takes some 300
PROPOSALS = 50  # for one trial: on a knob's steps TPE may well propose a point again
_FORMAT = "esm_viz knob search 1"
_QUIET = threading.Lock()

Space = Mapping[str, Knob]
Measure = Callable[[Recipe, Report], KnobTrial]


def space_of(recipe: Recipe, names: Sequence[str] | None) -> Space:
    """Return the knobs to search, all of the method's where none is named.

    Raises:
        RecipeError: a name is unknown or given twice, or the list is empty.
    """
    method = METHODS[recipe.method]
    if names is None:
        return method.knobs
    space: dict[str, Knob] = {}
    for name in names:
        if name in space:
            raise RecipeError(f"the knob {name} is given twice", "give each knob once")
        space[name] = knob_of(method, name)
    if not space:
        raise RecipeError("there is no knob to search", f"give some of {', '.join(method.knobs)}")
    return space


def checked_trials(trials: int) -> int:
    """Return a number of trials.

    Raises:
        RecipeError: it is no whole number from 1 to MOST_TRIALS.
    """
    if type(trials) is not int or not 1 <= trials <= MOST_TRIALS:
        raise RecipeError(f"the number of trials is {trials!r}", f"give a whole number from 1 to {MOST_TRIALS}")
    return trials


@dataclass(frozen=True, slots=True)
class Storage:
    """A file that keeps the trials of one search.

    Attributes:
        path: where it lies; made with the first trial.
        identity: what the trials depend on, by the words that an error says it in.
    """

    path: Path
    identity: Mapping[str, Any]

    def read(self, start: Recipe, space: Space) -> list[KnobTrial]:
        """Return the trials kept so far, none where there is no file yet.

        Raises:
            RecipeError: the file is no storage, or that of another search; nothing in it is run, nothing written.
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
        """Keep trials, all of them at once, so that the file is whole whenever the search is stopped."""
        kept = [{"parameters": dict(t.parameters), "value": None if math.isnan(t.value) else t.value} for t in trials]
        text = json.dumps({"format": _FORMAT, "search": self.identity, "trials": kept}, indent=1, ensure_ascii=False)
        write_text(self.path, text)


def _trial(raw: Mapping[str, Any], start: Recipe, space: Space) -> KnobTrial:
    """Return a trial that was read from a file, judged as if it had just been made.

    Raises:
        ValueError: a value is no number, or a knob moved that is not searched.
        RecipeError: a parameter is unknown or out of range.
    """
    parameters = with_parameters(start, **raw["parameters"]).parameters
    knobs, value = METHODS[start.method].knobs, math.nan if raw["value"] is None else raw["value"]
    if type(value) not in (int, float) or math.isinf(value) or set(raw["parameters"]) != set(parameters):
        raise ValueError
    words = [name for name, knob in knobs.items() if parameters[name] == knob.word]  # what is still to be searched
    fixed = [name for name, own in start.parameters.items() if name not in space and own != knobs[name].word]
    if (words and not math.isnan(value)) or any(parameters[name] != start.parameters[name] for name in fixed):
        raise ValueError
    return KnobTrial(parameters, float(value))


def search(
    record: KnobSearch,
    start: Recipe,
    space: Space,
    trials: int,
    measure: Measure,
    storage: Storage | None,
    report: Report,
    seen: Callable[[KnobSearch], None] = unseen,
) -> KnobSearch:
    """Return the record with its trials; the first is the recipe as it is, so that the best is never worse than it.

    Args:
        record: of the search, without trials.
        start: the recipe to start from; knobs that are not searched stay as it has them.
        space: the knobs to search.
        trials: how many in all, kept ones among them; fewer are made where no new point is left.
        measure: makes the trial of a recipe; its NumericsError is a value of NaN, except in the first trial.
        storage: keeps the trials; None keeps none.
        report: progress, may raise Cancelled.
        seen: gets the record after each trial.

    Raises:
        RecipeError: the storage is no storage, or that of another search.
        NumericsError: the recipe as it is cannot be merged.
        SearchStopped: the user stopped it; the record until then is in `found`.
    """
    done = storage.read(start, space) if storage else []
    try:
        while len(done) < trials:
            recipe = _next(start, space, done, record.seed) if done else start
            if recipe is None:
                break
            done.append(_measured(recipe, measure, _counting(report, done, trials), first=not done))
            if storage:
                storage.write(done)
            seen(dataclasses.replace(record, trials=tuple(done)))
    except Cancelled as error:
        stopped = SearchStopped(where=f"after {len(done)} of {trials} trials")
        stopped.found = dataclasses.replace(record, trials=tuple(done)) if done else None
        raise stopped from error
    return dataclasses.replace(record, trials=tuple(done))


def _measured(recipe: Recipe, measure: Measure, report: Report, first: bool) -> KnobTrial:
    report(0.0, "")
    try:
        return measure(recipe, report)
    except NumericsError:
        if first:
            raise
        return KnobTrial(recipe.parameters, math.nan)


def _next(start: Recipe, space: Space, done: Sequence[KnobTrial], seed: int) -> Recipe | None:
    """Return a recipe that was not tried yet, None where none is found."""
    tried = [tuple(trial.parameters[name] for name in space) for trial in done]
    for attempt in range(PROPOSALS):
        values = propose(space, done, _seed_of(seed, len(done), attempt))
        if tuple(values.values()) not in tried:
            return with_parameters(start, **values)
    return None


def propose(space: Space, done: Sequence[KnobTrial], seed: int) -> dict[str, Value]:
    """Return what TPE would try next, on the knobs' own steps [J. Bergstra et al., NIPS 2011].

    Args:
        space: the knobs to search.
        done: trials so far; NaN ranks below all numbers. The first ten proposals are uniform draws.
        seed: below 2³²; the same seed and trials give the same proposal.
    """
    import optuna  # a quarter of a second, which only a search should pay
    from optuna.trial import TrialState

    distributions = {name: _distribution(knob) for name, knob in space.items()}
    with _quiet():
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        for trial in done:
            known = not math.isnan(trial.value)
            study.add_trial(
                optuna.create_trial(
                    state=TrialState.COMPLETE if known else TrialState.PRUNED,  # which TPE ranks last
                    value=trial.value if known else None,
                    params={name: trial.parameters[name] for name in space},
                    distributions=distributions,
                )
            )
        drawn = study.ask(distributions).params
    return {name: _on_step(drawn[name], knob) for name, knob in space.items()}


def _distribution(knob: Knob) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if knob.range is None:
        return CategoricalDistribution(knob.choices)
    least, most, _ = knob.range
    return FloatDistribution(least, most)  # the start need not lie on a step


def _on_step(value: Any, knob: Knob) -> Value:
    if knob.range is None:
        return str(value)
    least, most, step = knob.range
    return min(most, round(least + round((value - least) / step) * step, 10))


def _seed_of(seed: int, trial: int, attempt: int) -> int:
    """Return a seed of its own for every proposal, in the range that a generator takes."""
    return int.from_bytes(hashlib.sha256(f"{seed} {trial} {attempt}".encode()).digest()[:4], "big")


def _counting(report: Report, done: Sequence[KnobTrial], trials: int) -> Report:
    """Turn one trial's progress into the search's."""
    at, known = len(done), [trial.value for trial in done if not math.isnan(trial.value)]
    words = f"trial {at + 1} of {trials}" + (f", best so far {abs(max(known)):.4f}" if known else "")

    def inside(fraction: float, _words: str) -> None:
        report((at + fraction) / trials, words)

    return inside


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna's lines off our output, and leave its logging as it was."""
    from optuna import logging

    with _QUIET:
        before = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)
        try:
            yield
        finally:
            logging.set_verbosity(before)
