"""Projects in the folder of this server that the operator allowed; only listed projects can be opened."""

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
MOST = 200  # projects in the list


def listed(folder: Path) -> tuple[str, ...]:
    """Return the projects below a folder by their relative paths; links to other folders are not followed.

    If the folder itself is a project, it is the only one, and its path is a dot.
    """
    found: list[str] = []
    for place, below, _ in os.walk(folder):
        here = Path(place)
        inside = here.relative_to(folder)
        below[:] = sorted(name for name in below if not name.startswith(".")) if len(inside.parts) < DEEPEST else []
        if recipe_from_folder.is_project(here):
            found.append(inside.as_posix())
            below.clear()  # its subfolders belong to it
        if len(found) == MOST:
            break
    return tuple(found)


def open_listed(folder: Path, chosen: str) -> FoundProject:
    """Return the recipe of a listed project, after a check that all its files are in the allowed folder.

    Args:
        folder: the allowed folder.
        chosen: path of the project, as in `listed`.

    Raises:
        RecipeError: the project is not listed, or has files outside the folder.
        EsmVizError: its recipe is wrong, or none can be made from its file names.
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
    """Return a kept recipe of a listed project, after a check that all its files are in the allowed folder.

    Args:
        folder: the allowed folder.
        chosen: path of the project, as in `listed`.
        text: the recipe as YAML, with paths relative to the project's folder.

    Raises:
        RecipeError: the project is not listed any more, the text is not a recipe, or a file is outside the folder.
    """
    return contained(parse_text(text, find(folder, chosen), chosen), folder, NAME)


def find(folder: Path, chosen: str) -> Path:
    """Return the folder of a listed project.

    Raises:
        RecipeError: the project is not listed, or outside the allowed folder.
    """
    if chosen not in listed(folder) or not (place := (folder / chosen).resolve()).is_relative_to(folder.resolve()):
        raise _unknown()
    return place


def _unknown() -> RecipeError:
    return RecipeError("there is no such project in this server's folder", "choose one of the list")
