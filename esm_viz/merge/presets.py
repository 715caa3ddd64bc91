"""Presets: named settings of all knobs, as the papers publish them (METHOD, ESM and Baselines).

A method whose paper has one setting is a preset of its own, at its defaults; the others stand in `VARIANTS`.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Value
from esm_viz.merge import METHODS, with_method, with_parameters

CVPR, JOURNAL, TASK_VECTORS = "arXiv:2602.20208", "arXiv:2606.19164", "arXiv:2212.04089"
LEVELS = ("spectrum_exponent", "task_exponent", "dimension_exponent", "layer_exponent")


@dataclass(frozen=True, slots=True)
class Preset:
    """One named setting of a method.

    Attributes:
        name, title, source: as a recipe's command line, a person and the literature call it.
        method: which it sets.
        parameters: knobs that differ from the method's defaults; α is among them where the paper fixes it.
        says: what is special about it, in a few words.
    """

    name: str
    title: str
    source: str
    method: str
    parameters: Mapping[str, Value]
    says: str

    @property
    def fixes_alpha(self) -> bool:
        """Say whether the paper names α, instead of searching it on validation images."""
        return "alpha" in self.parameters


def _levels(spectrum: float, others: float) -> dict[str, Value]:
    return {name: spectrum if name == "spectrum_exponent" else others for name in LEVELS}


VARIANTS = (
    Preset("averaging", "Averaging", "arXiv:2203.05482", "averaging", {"alpha": 1.0}, "the mean of all, α 1"),
    Preset("task_arithmetic", "Task Arithmetic", TASK_VECTORS, "task_arithmetic", {"alpha": 0.3}, "the sum, α 0.3"),
    Preset("tsv_m", "TSV-M", "arXiv:2412.00081", "tsv_m", {"alpha": 1.0}, "singular vectors made orthogonal, α 1"),
    Preset("esm_unscaled", "ESM, no scaling", CVPR, "esm", _levels(0.0, 0.0), "all four exponents 0"),
    Preset("esm_cvpr", "ESM CVPR", CVPR, "esm", _levels(0.0, 2.0), "powers 2, γ 0"),
    Preset("esm_journal", "ESM journal", JOURNAL, "esm", _levels(0.15, 2.0), "powers 2, γ 0.15"),
    Preset("esmpp_8", "ESM++, r = 8", JOURNAL, "esmpp", {**_levels(0.15, 2.0), "expert_rank": 8}, "experts of rank 8"),
    Preset(
        "esmpp_32", "ESM++, r = 32", JOURNAL, "esmpp", {**_levels(0.15, 2.0), "expert_rank": 32}, "experts of rank 32"
    ),
)


def _all() -> Iterator[Preset]:
    varied = {preset.method for preset in VARIANTS}
    for name, method in METHODS.items():
        yield from (preset for preset in VARIANTS if preset.method == name)
        if name not in varied:
            yield Preset(name, method.title, method.source, name, {}, "its paper's setting")


PRESETS: Mapping[str, Preset] = MappingProxyType({preset.name: preset for preset in _all()})


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
