"""The weight of a task in a merge: the range of its slider, and the recipe with another weight."""

from __future__ import annotations

import dataclasses

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe

WEIGHT_RANGE = (0.0, 2.0, 0.1)  # least, most and step of the slider


def with_weight(recipe: Recipe, task: str, weight: float) -> Recipe:
    """Return the recipe with one task's weight changed.

    Raises:
        RecipeError: there is no such task, or the weight is out of range.
    """
    least, most, _ = WEIGHT_RANGE
    if task not in recipe.tasks:
        raise RecipeError(f"there is no task {task!r}", f"use {', '.join(recipe.tasks)}")
    if not least <= weight <= most:
        raise RecipeError(f"the weight of {task} is {weight:g}", f"give a number from {least:g} to {most:g}")
    models = (dataclasses.replace(m, weight=weight) if m.name == task else m for m in recipe.models)
    return recipe.replace(models=tuple(models))
