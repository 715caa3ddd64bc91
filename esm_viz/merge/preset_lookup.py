"""Presets: named settings of all knobs from the papers; each is declared in its method's file."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.merge.method_registry import METHODS, Preset, with_method, with_parameters


class _AllPresets(Mapping[str, Preset]):
    """The presets of all registered methods by name; looked up at each access, so import order does not matter."""

    def __getitem__(self, name: str) -> Preset:
        for method in METHODS.values():
            for preset in method.presets:
                if preset.name == name:
                    return preset
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (preset.name for method in METHODS.values() for preset in method.presets)

    def __len__(self) -> int:
        return sum(len(method.presets) for method in METHODS.values())


PRESETS: Mapping[str, Preset] = _AllPresets()


def with_preset(recipe: Recipe, name: str) -> Recipe:
    """Return the recipe with the knobs of a preset and a weight of 1 for every task.

    If the paper searches α, a recipe whose method has the same weights keeps its α, so that presets are compared at
    the same α; another method starts at its default.

    Args:
        recipe: the recipe, whose files are kept.
        name: name of the preset.

    Raises:
        RecipeError: there is no such preset, or the recipe lacks files that its method needs.
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        raise RecipeError(
            f"there is no preset {name!r}{f' (did you mean {close[0]}?)' if close else ''}", f"use {', '.join(PRESETS)}"
        )
    preset = PRESETS[name]
    same = METHODS[recipe.method].static == METHODS[preset.method].static
    kept = {"alpha": recipe.parameters["alpha"]} if same and "alpha" in recipe.parameters else {}
    return with_parameters(with_method(evenly(recipe), preset.method), **{**kept, **preset.parameters})


def evenly(recipe: Recipe) -> Recipe:
    """Return the recipe with a weight of 1 for every task."""
    return recipe.replace(models=tuple(dataclasses.replace(model, weight=1.0) for model in recipe.models))


def preset_of(recipe: Recipe) -> Preset | None:
    """Return the preset whose settings a recipe has, or None; if the paper searches α, it may have any value.

    Args:
        recipe: a recipe with all parameters, as from `settle`.
    """
    if any(model.weight != 1.0 for model in recipe.models):
        return None
    return next((preset for preset in PRESETS.values() if _is(recipe, preset)), None)


def _is(recipe: Recipe, preset: Preset) -> bool:
    if recipe.method != preset.method:
        return False
    wanted = {**METHODS[preset.method].defaults, **preset.parameters}
    asked = wanted if preset.fixes_alpha else wanted.keys() - {"alpha"}
    return all(recipe.parameters[name] == wanted[name] for name in asked)
