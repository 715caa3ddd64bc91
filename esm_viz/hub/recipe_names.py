"""The names in a recipe: resolved and pinned, downloaded, or found in the cache.

A recipe keeps its names, with their commits. Their local paths are in `Recipe.downloaded`, where everything that opens
files looks them up.
"""

from __future__ import annotations

from esm_viz.core.errors import HubError, located
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import HUB, Recipe
from esm_viz.hub.download_plan import DownloadPlan, plan_of
from esm_viz.hub.file_download import download, in_cache
from esm_viz.hub.hub_name import parse_dataset, parse_model


def check_names(recipe: Recipe) -> None:
    """Read every name in a recipe; nothing is asked of a hub.

    Raises:
        HubError: a name is wrong, or of a data set where a model belongs, or the reverse.
    """
    with located("base_model: path"):
        if recipe.base.startswith(HUB):
            parse_model(recipe.base)
    for model in recipe.models:
        with located(f"model {model.name}"):
            if model.path.startswith(HUB):
                parse_model(model.path)
            for path in (model.proxies, model.validation, model.test):
                if path.startswith(HUB):
                    parse_dataset(path)
            if isinstance(model.head, str) and model.head.startswith(HUB):
                raise HubError("a head has no name on a hub", "give a file, or classes and templates")


def planned(recipe: Recipe, progress: Progress = NO_PROGRESS, *, ask: bool = True) -> tuple[Recipe, DownloadPlan]:
    """Resolve a recipe's names; nothing is downloaded.

    Args:
        recipe: the recipe.
        progress: progress, may raise Cancelled.
        ask: whether hubs may be asked; if not, the last listing of each repository is used.

    Returns:
        The recipe with a commit in each name, and the files of these names.

    Raises:
        HubError: a name is wrong or cannot be resolved.
    """
    check_names(recipe)
    plan = plan_of(recipe.names, progress, ask=ask)
    return with_pins(recipe, plan), plan


def with_pins(recipe: Recipe, plan: DownloadPlan) -> Recipe:
    """Return the recipe with the commit of a plan in each name."""
    pinned = plan.pinned
    return recipe.placed(lambda path, _of: pinned.get(path, path))


def downloaded(recipe: Recipe, *, confirmed: bool = False, progress: Progress = NO_PROGRESS) -> Recipe:
    """Resolve a recipe's names, download what is missing, and return the recipe with commits and local paths.

    A recipe without names is returned as it is.

    Args:
        recipe: the recipe.
        confirmed: whether a person agreed to a large download.
        progress: progress in bytes, may raise Cancelled.

    Raises:
        Unconfirmed: the download is large and not confirmed; nothing was downloaded.
        HubError: a name is wrong, or its files cannot be downloaded.
    """
    if not recipe.names:
        return recipe
    pinned, plan = planned(recipe, progress.part(0.0, 0.05))
    return pinned.replace(downloaded=download(plan, confirmed=confirmed, progress=progress.part(0.05, 1.0)))


def found_in_cache(recipe: Recipe) -> Recipe:
    """Return a recipe whose names are downloaded already, with commits and local paths; no hub is asked.

    A name without a commit is at the commit that its revision last had.

    Raises:
        HubError: a name is wrong or not downloaded.
    """
    if not recipe.names:
        return recipe
    pinned, plan = planned(recipe, ask=False)
    return pinned.replace(downloaded=in_cache(plan))
