"""Projects in the one folder of this server that the operator allowed: listed by us, asked for by what we listed."""

from __future__ import annotations

import os
from pathlib import Path

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe, load_text, parse_text
from esm_viz.inspection import recipe_from_folder
from esm_viz.inspection.recipe_from_folder import RECIPES, FoundProject
from esm_viz.ui.uploads.upload_unpack import arch_within, contained

DEEPEST = 3  # levels below the allowed folder
NAME = "this server's folder"
MOST = 200  # projects; a longer list is nothing to choose from


def listed(folder: Path) -> tuple[str, ...]:
    """Return the projects below a folder, by their path from it; links to other folders are not followed.

    The folder itself, where it is a project, is the only one and is named by a dot.
    """
    found: list[str] = []
    for place, below, _ in os.walk(folder):
        here = Path(place)
        inside = here.relative_to(folder)
        below[:] = sorted(name for name in below if not name.startswith(".")) if len(inside.parts) < DEEPEST else []
        if recipe_from_folder.is_project(here):
            found.append(inside.as_posix())
            below.clear()  # what lies below belongs to it
        if len(found) == MOST:
            break
    return tuple(found)


def open_listed(folder: Path, chosen: str) -> FoundProject:
    """Return the recipe of a project that was listed; every file it names lies in the allowed folder.

    Args:
        folder: that the operator allowed.
        chosen: as `listed` names it; whatever else comes is refused.

    Raises:
        RecipeError: it is not among the listed ones, or leads out of the folder.
        EsmVizError: its recipe is wrong, or none can be made from its names.
    """
    place = find(folder, chosen)
    recipes = [place / name for name in RECIPES if (place / name).is_file()]
    if recipes and not recipes[0].resolve().is_relative_to(folder.resolve()):
        raise _unknown()
    found = (
        FoundProject(load_text(recipes[0], arch_within(folder, NAME))) if recipes else recipe_from_folder.find(place)
    )
    contained(found.recipe, folder, NAME)
    return found


def open_kept(folder: Path, chosen: str, text: str) -> Recipe:
    """Return a recipe that was made of a listed project; every file it names lies in the allowed folder.

    Args:
        folder: that the operator allowed.
        chosen: as `listed` names it.
        text: the recipe as YAML, its paths from the project's folder.

    Raises:
        RecipeError: the project is no longer listed, the text is no recipe, or a path leads out of the folder.
    """
    return contained(parse_text(text, find(folder, chosen), chosen), folder, NAME)


def find(folder: Path, chosen: str) -> Path:
    """Return where a listed project lies.

    Raises:
        RecipeError: it is not among the listed ones, or leads out of the folder.
    """
    if chosen not in listed(folder) or not (place := (folder / chosen).resolve()).is_relative_to(folder.resolve()):
        raise _unknown()
    return place


def _unknown() -> RecipeError:
    return RecipeError("there is no such project in this server's folder", "choose one of the list")
