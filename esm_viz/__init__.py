"""Essential Subspace Merging of vision models: merge fine-tunes without training, and see why it works.

>>> import esm_viz
>>> recipe = esm_viz.load_recipe("assets/demo/recipe.yaml")
>>> project = esm_viz.Project.open(recipe)
>>> project.evaluate(recipe, "test").mean("merged")  # doctest: +SKIP
"""

from __future__ import annotations

from esm_viz.runtime import blas_threads as _threads  # noqa: F401 - before anything imports torch
from esm_viz.version import __version__

# isort: split
from esm_viz.core.errors import EsmVizError
from esm_viz.core.recipe import Recipe
from esm_viz.families.model_families import architecture_of
from esm_viz.families.routed_tower import load_routed
from esm_viz.families.vision_tower import encode
from esm_viz.hub.recipe_names import downloaded as download
from esm_viz.inspection.recipe_file import load_recipe
from esm_viz.merge import METHODS, with_method, with_parameters
from esm_viz.merge.preset_lookup import PRESETS, with_preset
from esm_viz.project.project import Project, inspect

__all__ = [
    "METHODS",
    "PRESETS",
    "EsmVizError",
    "Project",
    "Recipe",
    "__version__",
    "architecture_of",
    "download",
    "encode",
    "inspect",
    "load_recipe",
    "load_routed",
    "with_method",
    "with_parameters",
    "with_preset",
]
