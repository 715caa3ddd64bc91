"""Reading a recipe file and checking it against its method."""

from __future__ import annotations

from pathlib import Path

from esm_viz.core.recipe import Recipe, load_text
from esm_viz.inspection.recipe_from_folder import arch_beside
from esm_viz.merge import settle


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe file, check it against its method, and fill in all defaults.

    A recipe without `arch` gets the architecture that the config beside its base gives.

    Raises:
        RecipeError: the file is not a recipe, or a value is out of range.
        CheckpointError: the recipe has no `arch`, and the base or its config cannot be read.
    """
    return settle(load_text(Path(path), arch_beside))
