"""Reading a recipe file and checking it against its method."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from esm_viz.core.recipe import HUB, Recipe, load_text
from esm_viz.hub.recipe_names import check_names, found_in_cache, planned
from esm_viz.hub.remote_headers import with_headers
from esm_viz.inspection.recipe_from_folder import arch_beside
from esm_viz.merge import settle


def load_recipe(path: str | Path, *, ask_hub: bool = True) -> Recipe:
    """Read a recipe file, check it against its method, and fill in all defaults.

    A recipe without `arch` gets the architecture that the config beside its base gives.

    Args:
        path: path of the file.
        ask_hub: whether a hub may be asked for the config of a base that is a name on it.

    Raises:
        RecipeError: the file is not a recipe, or a value is out of range.
        CheckpointError: the recipe has no `arch`, and the base or its config cannot be read.
        HubError: a name on a hub is wrong, or the base's config is needed and cannot be read.
    """
    recipe = settle(load_text(Path(path), partial(arch_of, ask_hub=ask_hub)))
    check_names(recipe)
    return recipe


def arch_of(recipe: Recipe, *, ask_hub: bool = True) -> dict[str, Any]:
    """Return the architecture of a recipe without one, as `arch_beside`; also where the base is a name on a hub.

    Args:
        recipe: the recipe.
        ask_hub: whether a hub may be asked.

    Raises:
        RecipeError: there is no config beside the base.
        CheckpointError: the base or its config cannot be read.
        HubError: the base cannot be found on its hub.
    """
    if not recipe.base.startswith(HUB):
        return arch_beside(recipe)
    alone = recipe.replace(models=())
    if not ask_hub:
        return arch_beside(found_in_cache(alone))
    pinned, plan = planned(alone)
    with with_headers(pinned, plan) as located:
        return arch_beside(located)
