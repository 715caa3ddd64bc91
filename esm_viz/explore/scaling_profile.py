"""The scaling profile: ‖ΔW‖_F of the merge per layer, as the levels of polarized scaling are added (METHOD, ESM)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from types import MappingProxyType

import torch
from torch import Tensor

from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Layer, Role, ScalingProfile
from esm_viz.merge import METHODS, static_part
from esm_viz.numerics.polarized_scaling import relative_power
from esm_viz.stages.merge_stages import Stages
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import recorded_question

LEVELS: tuple[Role, ...] = ("spectrum", "task", "dimension", "layer")
"""The levels in the order in which they are applied; the method says which knob is a level's exponent."""


@recorded_question
def scaling_profile(project: OpenedProject, recipe: Recipe, progress: Progress = NO_PROGRESS) -> ScalingProfile:
    """Merge with no level, with the first, with the first two …, by the same stages as any merge."""
    stages, recipe = project.stages, static_part(project.settled(recipe))
    own = [level for level in LEVELS if level in METHODS[recipe.method].roles]
    recipes = [_without(recipe, own[count:]) for count in range(len(own) + 1)]
    columns = []
    for step, layer in enumerate(stages.layers):  # all levels of a layer share its slow stages
        progress(step / len(stages.layers), f"scaling {layer.label} level by level")
        columns.append([float(stages.merged(each, layer.name, layer).norm) for each in recipes])
    rows = [list(row) for row in zip(*columns, strict=True)]
    factors = stages.layer_factors(recipe)
    rows[-1] = [norm * factors[layer.name] for norm, layer in zip(rows[-1], stages.layers, strict=True)]
    shares = [_shares(stages, recipe, layer) for layer in stages.layers]
    return ScalingProfile(
        tasks=recipe.tasks,
        layers=stages.layers,
        levels=("none", *own),
        norms=tuple(tuple(row) for row in rows),
        shares_before=_by_task(before for before, _ in shares),
        shares_after=_by_task(after for _, after in shares),
    )


def _without(recipe: Recipe, levels: list[Role]) -> Recipe:
    """Return the recipe with these levels switched off."""
    off = {METHODS[recipe.method].roles[level]: 0.0 for level in levels}
    return recipe.replace(parameters=MappingProxyType({**recipe.parameters, **off}))


def _shares(stages: Stages, recipe: Recipe, layer: Layer) -> tuple[list[float], list[float]]:
    """Return each task's share of Σ_t ‖ΔW_t‖_F² at a layer, before and after the inter-task level."""
    norms = torch.stack([update.delta.norm() for update in stages.updates(recipe, layer.name, layer)])
    knob = METHODS[recipe.method].roles.get("task")
    exponent = recipe.parameters[knob] if knob and layer.essential else 0.0
    return _squares(norms), _squares(norms * relative_power(norms, float(exponent)))


def _squares(norms: Tensor) -> list[float]:
    """Return each norm's share of the sum of squares."""
    if not norms.max() > 0:
        return [math.nan] * len(norms)
    squares = (norms / norms.max()).square()  # so that squares of 1e-200 or 1e200 stay in range
    return (squares / squares.sum()).tolist()


def _by_task(columns: Iterable[list[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(zip(*columns, strict=True))
