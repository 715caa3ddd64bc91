"""What choosing without labels costs in test accuracy, on the demo: `python -m benchmarks labelfree`.

Everything is chosen on validation images or on unlabelled proxies, and judged on all test images. Three tables, as in
METHOD ("Choosing without labels"): α of every method; all knobs of ESM at once; the best of 20 drawn from 90 random
recipes over methods and knobs.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections.abc import Callable, Mapping, Sequence

from esm_viz import load_recipe, with_method, with_parameters
from esm_viz.core.errors import NumericsError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Knob, Value
from esm_viz.merge import METHODS
from esm_viz.project.project import Project
from esm_viz.search.alpha_search import bracket_alpha
from esm_viz.ui.studio_server import DEMO

TRIALS, SEEDS = 40, (0, 1, 2)
RECIPES, DRAWN, DRAWS = 90, 20, 2000

Meter = Callable[[Recipe], float]  # more is better


def main(trials: int, quick: bool) -> None:
    """Print the three tables."""
    project = Project.open(load_recipe(DEMO), device="cpu")
    project.prepare()
    meters = meters_of(project)
    print(f"{len(project.tasks)} tasks; test accuracy in %, losses in points against labels")
    _alphas(project, meters, quick)
    _knobs(project, trials, SEEDS[:1] if quick else SEEDS)
    _recipes(project, meters, 30 if quick else RECIPES)


def meters_of(project: Project) -> dict[str, Meter]:
    """Return every way to choose, from a recipe to a height."""

    def divergence(recipe: Recipe) -> float:
        found = project.agreement(recipe).divergence
        assert found is not None  # the demo has heads
        return -found.value

    def same(recipe: Recipe) -> float:
        found = project.agreement(recipe).same
        assert found is not None
        return found.accuracy

    return {
        "labels": lambda recipe: project.evaluate(recipe, "validation", oracle=False).mean_normalised,
        "KL": divergence,
        "agreement": same,
        "direction": lambda recipe: project.agreement(recipe).direction.value,
        "interference": lambda recipe: -project.merge(recipe).interference.mean,
    }


def _tested(project: Project, recipe: Recipe) -> float:
    return 100 * project.evaluate(recipe, "test", oracle=False).mean("merged")


def _alphas(project: Project, meters: Mapping[str, Meter], quick: bool) -> None:
    """Print for every method the test accuracy of the α that each meter chooses."""
    print(f"\n{'α of':<20}" + "".join(f"{name:>22}" for name in meters))
    lost: dict[str, list[float]] = {name: [] for name in meters}
    methods = [method for method in METHODS.values() if method.searches_alpha]
    for method in methods[:2] if quick else methods:
        start, found = with_method(project.recipe, method.name), {}
        reach = method.knobs["alpha"].range
        assert reach is not None
        for name, meter in meters.items():
            best, _ = bracket_alpha(_over_alpha(start, meter), reach[1])
            found[name] = _tested(project, with_parameters(start, alpha=best.alpha)), best.alpha
        cells = (f"{accuracy:.1f} at {alpha:.2f}" for accuracy, alpha in found.values())
        print(f"{method.name:<20}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
        for name, (accuracy, _) in found.items():
            lost[name].append(found["labels"][0] - accuracy)
    _print_losses("all methods", lost)


def _over_alpha(start: Recipe, meter: Meter) -> Callable[[float], float]:
    return lambda alpha: meter(with_parameters(start, alpha=alpha))


def _knobs(project: Project, trials: int, seeds: Sequence[int]) -> None:
    """Print the test accuracy of ESM's knobs as `tune` finds them with labels and without."""
    start = with_method(project.recipe, "esm")
    bare = tuple(dataclasses.replace(model, validation="") for model in project.recipe.models)
    unlabelled = project.recipe.replace(models=bare)
    without = Project.open(unlabelled, device="cpu", cache=project.stages.cache)
    print(f"\nall knobs of ESM, {trials} trials\n{'seed':<20}{'labels':>22}{'KL':>22}")
    lost: dict[str, list[float]] = {"labels": [], "KL": []}
    for seed in seeds:
        found = []
        for opened, own in ((project, start), (without, with_method(unlabelled, "esm"))):
            record = opened.search_knobs(own, trials=trials, seed=seed)
            chosen = with_parameters(start, **record.trials[record.best].parameters)
            found.append(_tested(project, chosen))
        print(f"{seed:<20}" + "".join(f"{accuracy:>22.1f}" for accuracy in found), flush=True)
        lost["labels"].append(0.0)
        lost["KL"].append(found[0] - found[1])
    _print_losses("all seeds", lost)


def _recipes(project: Project, meters: Mapping[str, Meter], count: int) -> None:
    """Print rank correlations over random recipes, and what the best of 20 drawn by a meter loses."""
    draw = random.Random(0)
    methods = [method for method in METHODS.values() if method.static == method.name and method.knobs]
    recipes, accuracies = [], []
    heights: dict[str, list[float]] = {name: [] for name in meters}
    while len(recipes) < count:
        method = draw.choice(methods)
        knobs = {name: _drawn(draw, knob) for name, knob in method.knobs.items()}
        recipe = with_parameters(with_method(project.recipe, method.name), **knobs)
        try:
            measured = {name: meter(recipe) for name, meter in meters.items()}
        except NumericsError:  # a rank that leaves nothing
            continue
        recipes.append(recipe)
        accuracies.append(_tested(project, recipe))
        for name, height in measured.items():
            heights[name].append(height)
    print(f"\n{count} random recipes over {len(methods)} methods; best of {DRAWN} drawn, {DRAWS} draws")
    print(f"{'chosen by':<20}{'rank correlation':>18}{'mean loss':>12}{'95 % below':>12}{'worst':>8}")
    draws = [draw.sample(range(count), DRAWN) for _ in range(DRAWS)]
    for name, values in heights.items():
        losses = sorted(
            max(accuracies[at] for at in drawn) - accuracies[max(drawn, key=lambda at: values[at])] for drawn in draws
        )
        row = (statistics.mean(losses), losses[int(0.95 * len(losses))], losses[-1])
        told = f"{statistics.correlation(_ranks(values), _ranks(accuracies)):>18.2f}"
        print(f"{name:<20}{told}{row[0]:>12.1f}{row[1]:>12.1f}{row[2]:>8.1f}", flush=True)


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value; equal ones share the mean of theirs, as in Spearman's correlation."""
    return [sum(other < value for other in values) + sum(other == value for other in values) / 2 for value in values]


def _drawn(draw: random.Random, knob: Knob) -> Value:
    """Return a random value of a knob, on its steps."""
    if knob.range is None:
        return draw.choice(knob.choices)
    least, most, step = knob.range
    return min(most, round(least + draw.randint(0, round((most - least) / step)) * step, 10))


def _print_losses(title: str, lost: Mapping[str, Sequence[float]]) -> None:
    """Print the mean and the worst loss of each meter."""
    for name, losses in lost.items():
        if name != "labels":
            print(f"{title}: {name} loses {statistics.mean(losses):.2f} in the mean, {max(losses):.2f} at worst")
