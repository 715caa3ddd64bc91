"""Essential Subspace Merging of CLIP vision models: merge fine-tunes without training, and see why it works.

>>> import esm_viz
>>> recipe = esm_viz.load_recipe("assets/demo/recipe.yaml")
>>> project = esm_viz.Project.open(recipe)
>>> project.evaluate(recipe, "test").mean("merged")  # doctest: +SKIP
"""

from __future__ import annotations

from esm_viz import threads as _threads  # noqa: F401 - before anything imports torch

# isort: split
from pathlib import Path

from esm_viz.errors import EsmVizError
from esm_viz.merge import METHODS, settle, with_method, with_parameters
from esm_viz.pipeline import Project, inspect
from esm_viz.presets import PRESETS, with_preset
from esm_viz.recipe import Recipe, load_text
from esm_viz.version import __version__

__all__ = [
    "METHODS",
    "PRESETS",
    "EsmVizError",
    "Project",
    "Recipe",
    "__version__",
    "inspect",
    "load_recipe",
    "with_method",
    "with_parameters",
    "with_preset",
]


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe file, check it against its method, and write out every default.

    Raises:
        RecipeError: the file is not a recipe, or a value is out of range.
    """
    return settle(load_text(Path(path)))
