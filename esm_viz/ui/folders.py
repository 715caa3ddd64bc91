"""Projects in the one folder of this server that the operator allowed: listed by us, asked for by what we listed."""

from __future__ import annotations

import os
from pathlib import Path

from esm_viz import finding
from esm_viz.errors import RecipeError
from esm_viz.finding import RECIPES, Found
from esm_viz.recipe import load_text
from esm_viz.ui.uploads import contained

DEEPEST = 3  # levels below the allowed folder
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
        if finding.is_project(here):
            found.append(inside.as_posix())
            below.clear()  # what lies below belongs to it
        if len(found) == MOST:
            break
    return tuple(found)


def open_listed(folder: Path, chosen: str) -> Found:
    """Return the recipe of a project that was listed; every file it names lies in the allowed folder.

    Args:
        folder: that the operator allowed.
        chosen: as `listed` names it; whatever else comes is refused.

    Raises:
        RecipeError: it is not among the listed ones, or leads out of the folder.
        EsmVizError: its recipe is wrong, or none can be made from its names.
    """
    unknown = RecipeError("there is no such project in this server's folder", "choose one of the list")
    if chosen not in listed(folder):
        raise unknown
    place = (folder / chosen).resolve()
    if not place.is_relative_to(folder.resolve()):
        raise unknown
    recipes = [place / name for name in RECIPES if (place / name).is_file()]
    if recipes and not recipes[0].resolve().is_relative_to(folder.resolve()):
        raise unknown
    found = Found(load_text(recipes[0])) if recipes else finding.find(place)
    contained(found.recipe, folder, "this server's folder")
    return found
