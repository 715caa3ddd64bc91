"""The search over several knobs at once with Optuna's TPE; it is seeded and can be stopped and resumed.

A proposal depends only on the seed, its number and the trials before it, so a search that stops after 5 trials and
resumes gives the same 10 trials as one without a stop. For this, each proposal uses a new Optuna study with all trials.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esm_viz.core.errors import Cancelled, NumericsError, RecipeError, SearchStopped
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe, checked_seed
from esm_viz.core.records import Knob, KnobSearch, KnobTrial, Split, Value, ignore_record
from esm_viz.merge import METHODS, knob_of, with_parameters
from esm_viz.search.alpha_search import with_alpha_found
from esm_viz.search.search_objective import height_of, measured_for_choice, objective_of
from esm_viz.search.search_requirements import images_counted, need_measurable
from esm_viz.search.trial_storage import Space, Storage
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import question
from esm_viz.version import __version__

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MOST_TRIALS = 1000
PROPOSALS = 50  # most proposals for one trial, since TPE may propose a known point again
_QUIET = threading.Lock()

Measure = Callable[[Recipe, Progress], KnobTrial]


@question
def search_knobs(
    project: OpenedProject,
    recipe: Recipe,
    knobs: Sequence[str] | None = None,
    trials: int = 40,
    *,
    seed: int | None = None,
    storage: Path | None = None,
    limit: int = 0,
    progress: Progress = NO_PROGRESS,
    seen: Callable[[KnobSearch], None] = ignore_record,
) -> KnobSearch:
    """Search several knobs at once with Optuna's TPE, by validation accuracy or, without labels, by agreement.

    The objective is the mean normalised validation accuracy, as in the α search, if every task has labelled validation
    images; otherwise minus KL(expert ‖ merged) on the proxies. The first trial is the recipe itself.

    Args:
        project: the opened project.
        recipe: a recipe of this project; with `alpha: search`, every trial has its own α search, unless α is one of
            the knobs here.
        knobs: the knobs to search; by default all of the method's.
        trials: total number of trials; fewer if there are no new points.
        seed: seed of the proposals; by default the recipe's.
        storage: a file that keeps the trials, from which a stopped search resumes.
        limit: validation images per task, spread evenly over its set; 0 = all.
        progress: callback, may raise Cancelled.
        seen: called with the search so far after each trial.

    Raises:
        RecipeError: a knob or the number of trials is wrong, or the storage belongs to another search.
        ImagesError: tasks have neither labels nor proxies.
        HeadError: an expert has a validation accuracy of 0, or without a head there is nothing to choose knobs by.
        NumericsError: the recipe itself cannot be merged.
        SearchStopped: the user stopped it; the trials so far are in `found` and in the storage.
    """
    recipe = project.settled(recipe)
    space, trials = space_of(recipe, knobs), checked_trials(trials)
    seed = checked_seed(recipe.seed if seed is None else seed, "knob search")
    objective = objective_of(project, alpha_alone=list(space) == ["alpha"])
    split: Split | None = "validation" if objective == "normalised" else None
    need_measurable(project, recipe, split, limit)
    identity = {
        "the recipe or its files": project.sha256(recipe),
        "the knobs searched": list(space),
        "the labelled images": project.labels_digest("validation") if split else f"none, {objective} on proxies",
        "the number of images": limit,
        "the seed": seed,
        "the version of esm_viz": __version__,
    }

    def measure(own: Recipe, inside: Progress) -> KnobTrial:
        own, second = with_alpha_found(project, own, inside.part(0.0, 0.5)), inside.part(0.5, 1.0)
        value = height_of(measured_for_choice(project, own, objective, limit, second))
        if math.isnan(value):
            raise NumericsError("no task changed a layer", "give models fine-tuned from the base")
        return KnobTrial(own.parameters, value)

    record = KnobSearch(
        method=recipe.method,
        knobs=tuple(space),
        objective=objective,
        images=images_counted(project, split, limit),
        seed=seed,
        trials=(),
    )
    kept = Storage(storage, identity) if storage else None
    found = search(record, recipe, space, trials, measure, kept, progress, seen)
    return dataclasses.replace(found, images=images_counted(project, split, limit))


def space_of(recipe: Recipe, names: Sequence[str] | None) -> Space:
    """Return the knobs to search; by default all of the method's.

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
    """Return the number of trials if it is valid.

    Raises:
        RecipeError: it is not a whole number from 1 to MOST_TRIALS.
    """
    if type(trials) is not int or not 1 <= trials <= MOST_TRIALS:
        raise RecipeError(f"the number of trials is {trials!r}", f"give a whole number from 1 to {MOST_TRIALS}")
    return trials


def search(
    record: KnobSearch,
    start: Recipe,
    space: Space,
    trials: int,
    measure: Measure,
    storage: Storage | None,
    progress: Progress,
    seen: Callable[[KnobSearch], None] = ignore_record,
) -> KnobSearch:
    """Return the record with its trials; the first is the start itself, so the best trial is never worse than it.

    Args:
        record: the record of the search, without trials.
        start: the recipe to start from; knobs that are not searched keep its values.
        space: the knobs to search.
        trials: total number of trials, including stored ones; fewer are made if there are no new points.
        measure: returns the trial of a recipe; if it raises NumericsError, the value is NaN, except in the first trial.
        storage: keeps the trials; None to keep none.
        progress: callback, may raise Cancelled.
        seen: called with the record after each trial.

    Raises:
        RecipeError: the storage is not valid, or belongs to another search.
        NumericsError: the start cannot be merged.
        SearchStopped: the user stopped it; the record so far is in `found`.
    """
    done = storage.read(start, space) if storage else []
    try:
        while len(done) < trials:
            recipe = _next(start, space, done, record.seed) if done else start
            if recipe is None:
                break
            done.append(_measured(recipe, measure, _of_trial(progress, done, trials), first=not done))
            if storage:
                storage.write(done)
            seen(dataclasses.replace(record, trials=tuple(done)))
    except Cancelled as error:
        stopped = SearchStopped(where=f"after {len(done)} of {trials} trials")
        stopped.found = dataclasses.replace(record, trials=tuple(done)) if done else None
        raise stopped from error
    return dataclasses.replace(record, trials=tuple(done))


def _measured(recipe: Recipe, measure: Measure, progress: Progress, first: bool) -> KnobTrial:
    progress(0.0, "")
    try:
        return measure(recipe, progress)
    except NumericsError:
        if first:
            raise
        return KnobTrial(recipe.parameters, math.nan)


def _next(start: Recipe, space: Space, done: Sequence[KnobTrial], seed: int) -> Recipe | None:
    """Return a recipe that was not tried yet; None if none is found."""
    tried = [tuple(trial.parameters[name] for name in space) for trial in done]
    for attempt in range(PROPOSALS):
        values = propose(space, done, _seed_of(seed, len(done), attempt))
        if tuple(values.values()) not in tried:
            return with_parameters(start, **values)
    return None


def propose(space: Space, done: Sequence[KnobTrial], seed: int) -> dict[str, Value]:
    """Return the next proposal of TPE, on the knobs' steps [J. Bergstra et al., NIPS 2011].

    Args:
        space: the knobs to search.
        done: trials so far; NaN ranks below all numbers. The first ten proposals are uniform draws.
        seed: below 2³²; the same seed and trials give the same proposal.
    """
    import optuna  # imported late: takes a quarter of a second and only a search needs it
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
    """Return a different seed for every proposal, below 2³²."""
    return int.from_bytes(hashlib.sha256(f"{seed} {trial} {attempt}".encode()).digest()[:4], "big")


def _of_trial(progress: Progress, done: Sequence[KnobTrial], trials: int) -> Progress:
    """Return the progress of one trial as part of the search's."""
    at, known = len(done), [trial.value for trial in done if not math.isnan(trial.value)]
    words = f"trial {at + 1} of {trials}" + (f", best so far {abs(max(known)):.4f}" if known else "")
    return progress.part(at / trials, (at + 1) / trials, words, fixed=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Optuna's log messages in the block, and restore its logging afterwards."""
    from optuna import logging

    with _QUIET:
        before = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)
        try:
            yield
        finally:
            logging.set_verbosity(before)
