"""Presets: named settings of all knobs, as the papers publish them; each is declared in its method's file."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.merge.method_registry import METHODS, Preset, with_method, with_parameters


class _AllPresets(Mapping[str, Preset]):
    """Every registered method's presets by name, read anew each time: no method file need be imported before this."""

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
    """Return the recipe with every knob as a preset has it, and every task weighing the same.

    Where the paper searches α, a recipe of the same weights keeps its own, so that two presets are compared at one
    α; another method begins at its default.

    Args:
        recipe: whose files stay.
        name: of the preset.

    Raises:
        RecipeError: there is no such preset, or the recipe lacks what its method reads.
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
    """Return the recipe with every task weighing 1."""
    return recipe.replace(models=tuple(dataclasses.replace(model, weight=1.0) for model in recipe.models))


def preset_of(recipe: Recipe) -> Preset | None:
    """Return the preset that a recipe is, or None where it is a setting of its own; a searched α may be any.

    Args:
        recipe: settled.
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
