"""Checks before a search: that there are labels or proxies to measure with, and that the recipe can be merged."""

from __future__ import annotations

from esm_viz.core.errors import ImagesError, NumericsError, RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Split
from esm_viz.data.images.image_source import evenly_spaced
from esm_viz.search.search_objective import images_for_choice, objective_of
from esm_viz.stages.opened_project import OpenedProject


def need_measurable(project: OpenedProject, recipe: Recipe, split: Split | None, limit: int) -> None:
    """Check before work starts that a recipe can be merged and measured.

    Args:
        project: the opened project.
        recipe: a recipe of this project.
        split: split of the labelled images; None to measure on proxies.
        limit: images per task.

    Raises:
        RecipeError: the number of images is not valid.
        ImagesError: the labelled images or the proxies are missing.
        NumericsError: the rank is 0 at a layer.
    """
    if type(limit) is not int or limit < 0:
        raise RecipeError(f"the number of images is {limit!r}", "give a whole number; 0 is all of them")
    if split is not None:
        project.scorer.need_labels(split)
    elif not project.has_proxies:
        raise ImagesError("there is nothing to measure by", "give every task proxies, or labelled images and a head")
    if recipe.parameters["alpha"] == "search":
        objective_of(project, alpha_alone=True)
    project.stages.need_rank(recipe)


def rank_is_possible(project: OpenedProject, recipe: Recipe) -> bool:
    """Say whether a recipe's rank is at least 1 at every layer."""
    try:
        project.stages.need_rank(recipe)
    except NumericsError:
        return False
    return True


def images_counted(project: OpenedProject, split: Split | None, limit: int) -> int:
    """Return the images of one measurement over all tasks, labelled or proxies, without known broken ones."""
    if split is None:
        return images_for_choice(project, "divergence", limit)
    labelled = project.headers.labelled[split].values()
    return sum(listed.usable_of(evenly_spaced(listed.count, limit)) for listed in labelled)
