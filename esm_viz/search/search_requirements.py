"""What a search can measure by: refused before work starts where there is nothing, or a recipe cannot be merged."""

from __future__ import annotations

from esm_viz.core.errors import ImagesError, NumericsError, RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Split
from esm_viz.data.images.image_source import evenly_spaced
from esm_viz.stages.opened_project import OpenedProject


def need_measurable(project: OpenedProject, recipe: Recipe, split: Split | None, limit: int) -> None:
    """Refuse, before work starts, what could not be merged or measured later.

    Args:
        project: the opened project.
        recipe: of this project.
        split: labelled images to measure on; None where the merge is measured on proxies.
        limit: images a task.

    Raises:
        RecipeError: the number of images is none.
        ImagesError: there is nothing to measure by.
        NumericsError: the rank leaves a layer no direction.
    """
    if type(limit) is not int or limit < 0:
        raise RecipeError(f"the number of images is {limit!r}", "give a whole number; 0 is all of them")
    if split is not None:
        project.scorer.need_labels(split)
    elif not project.has_proxies:
        raise ImagesError("there is nothing to measure by", "give every task proxies, or labelled images and a head")
    if recipe.parameters["alpha"] == "search":
        project.scorer.need_labels("validation")
    project.stages.need_rank(recipe)


def rank_is_possible(project: OpenedProject, recipe: Recipe) -> bool:
    """Say whether a recipe's rank leaves every layer a direction."""
    try:
        project.stages.need_rank(recipe)
    except NumericsError:
        return False
    return True


def images_counted(project: OpenedProject, split: Split | None, limit: int) -> int:
    """Return the labelled images that one evaluation counts, over all tasks, as far as is known by now."""
    labelled = project.headers.labelled[split].values() if split else ()
    return sum(listed.usable_of(evenly_spaced(listed.count, limit)) for listed in labelled)
