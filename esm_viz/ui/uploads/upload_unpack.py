"""Moving a visitor's uploads out of the shared folder, unpacking them safely, and reading them as a recipe."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from esm_viz.checkpoints.model_config import PROCESSORS
from esm_viz.checkpoints.weight_files import first_bytes, saved_instead
from esm_viz.core.errors import RecipeError
from esm_viz.core.folder_entries import entries
from esm_viz.core.recipe import ArchOf, Recipe, load_text
from esm_viz.data.images import image_source
from esm_viz.data.images.image_folder import METHODS
from esm_viz.inspection import recipe_from_folder
from esm_viz.inspection.recipe_from_folder import ARCH, CONFIG, OPEN_CLIP_CONFIG, RECIPES, WEIGHTS, FoundProject

MOST_FILES = 20_000
_LEFT_OUT = re.compile(r'[<>:"|?*`$!{}]')  # marks that Gradio leaves out of the names of uploads
MOST_BYTES = 20 * 10**9
KINDS = tuple(dict.fromkeys((*WEIGHTS, *image_source.KINDS, ".yaml", ".yml", ".json")))
"""Suffixes of accepted files; the page's file chooser has the same."""


def take(files: list[str], folder: Path) -> FoundProject:
    """Move uploaded files to a private folder, and read their recipe or make one from their names.

    Args:
        files: current paths of the files; none of them stays there.
        folder: a new folder for them; deleted if they are refused.

    Raises:
        EsmVizError: what is wrong, in one sentence.
    """
    try:
        return _take(files, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        for file in files:
            Path(file).unlink(missing_ok=True)


def _take(files: list[str], folder: Path) -> FoundProject:
    names = [Path(file).name for file in files]
    for name in names:
        if not name.lower().endswith(KINDS):
            raise RecipeError(f"{name} is of no kind that is read here", f"upload {', '.join(KINDS)}")
    if len(set(names)) != len(names):
        raise RecipeError("two files have the same name", "rename one of them, or upload folders as one zip")
    for file, name in zip(files, names, strict=True):
        _bring(Path(file), folder / name)
    for archive in [folder / name for name in names if name.lower().endswith(".zip")]:
        unpack(archive, folder)
    recipes = sorted(path for path in folder.rglob("*") if path.name.lower() in RECIPES)
    found = FoundProject(_read(recipes[0], folder)) if recipes else recipe_from_folder.find(folder)
    contained(found.recipe, folder, "the upload")
    return found


def _read(path: Path, folder: Path) -> Recipe:
    """Read an uploaded recipe; files that lost marks of their names on the way get back the names it gives them."""
    inside = arch_within(folder, "the upload")
    return _renamed(load_text(path, lambda recipe: inside(_renamed(recipe, folder))), folder)


def _renamed(recipe: Recipe, folder: Path) -> Recipe:
    """Rename uploaded files that a recipe names with marks that Gradio leaves out of names."""
    for path in recipe.paths:
        place, bare = recipe.resolve(path), _LEFT_OUT.sub("", path)
        if bare != path and place.parent == folder and (folder / bare).is_file() and not place.exists():
            (folder / bare).rename(place)
    return recipe


def _bring(source: Path, target: Path) -> None:
    """Move an uploaded file out of Gradio's folder, where its name is made from its content.

    Raises:
        RecipeError: another visitor uploaded the same file at the same moment and took it first.
    """
    try:
        shutil.move(source, target)
    except FileNotFoundError as error:
        raise RecipeError(f"{target.name} came twice at the same moment", "upload it again") from error


def unpack(archive: Path, folder: Path) -> None:
    """Replace a zip of models by its contents: plain files only, inside the folder only, of limited size.

    A zip without weights holds images and is not unpacked. If the zip is the folder of one model, its files go to a
    folder of the zip's name.

    Raises:
        RecipeError: the zip is damaged, too large, or has links or paths outside the folder.
    """
    other = saved_instead(first_bytes(archive))
    if other:
        raise RecipeError(f"{archive.name} is {other}", "download the file itself")
    try:
        with zipfile.ZipFile(archive) as source:
            entries = {_inside(entry): entry for entry in source.infolist() if not entry.is_dir()}
            known = {path: entry for path, entry in entries.items() if _is_known(path)}
            if not any(path.suffix.lower() in WEIGHTS or path.name.lower() in RECIPES for path in known):
                return
            if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries.values()) > MOST_BYTES:
                raise RecipeError(f"{archive.name} unpacks to too much", "upload fewer or smaller files")
            is_model = recipe_from_folder.holds_model(path.name for path in known if len(path.parts) == 1)
            target = folder / archive.stem if is_model else folder
            for path, entry in known.items():
                _unpack_one(source, entry, target / path)
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError) as error:
        raise RecipeError(f"{archive.name} is damaged or not a zip", "pack it again") from error
    archive.unlink()


def _inside(entry: zipfile.ZipInfo) -> PurePosixPath:
    """Return an entry's path relative to the folder into which it is unpacked.

    Raises:
        RecipeError: it is a link, or its path leads out of the folder.
    """
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if entry.compress_type not in METHODS:
        raise RecipeError(f"{entry.filename} is packed in an unusual way", "pack it again")
    link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    if path.is_absolute() or ".." in path.parts or link or ":" in entry.filename:
        raise RecipeError(f"the zip names {entry.filename!r}", "pack plain files below one folder")
    return path


def _is_known(path: PurePosixPath) -> bool:
    """Say whether a file in a zip is of an accepted kind, and not added by an operating system."""
    hidden = any(part.startswith((".", "__")) for part in path.parts)
    return not hidden and path.name.lower().endswith((*KINDS, *image_source.SUFFIXES))


def _unpack_one(source: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    if target.exists():
        raise RecipeError(f"{entry.filename} is there twice", "give each file its own name")
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(entry) as packed, target.open("wb") as plain:
        left = entry.file_size
        while block := packed.read(min(1 << 20, left + 1)):
            left -= len(block)
            if left < 0:
                raise RecipeError(f"{entry.filename} is larger than the zip says", "pack it again")
            plain.write(block)


def arch_within(folder: Path, what: str) -> ArchOf:
    """Return a function that gives a recipe without an architecture one, if all its files are inside one folder.

    Args:
        folder: that nothing may lead out of.
        what: the folder, for people.
    """
    return lambda recipe: recipe_from_folder.arch_beside(contained(recipe, folder, what))


def contained(recipe: Recipe, folder: Path, what: str) -> Recipe:
    """Return the recipe if all its files, and all files in its folders, are inside one folder.

    Args:
        recipe: the recipe.
        folder: the folder; links must not lead out of it either.
        what: description of the folder, for error messages.

    Raises:
        RecipeError: a path leads out of it.
    """
    inside = Path(os.path.realpath(folder))

    def lies_inside(place: Path) -> bool:
        return Path(os.path.realpath(place)).is_relative_to(inside)  # Path.resolve raises for links in a loop

    for path in (*recipe.paths, ARCH, CONFIG, OPEN_CLIP_CONFIG, *PROCESSORS):  # configs are read from the base's folder
        place = recipe.resolve(path)
        below = entries(place) if place.is_dir() and lies_inside(place) else ()
        files = (place / entry.name for entry in below)  # one by one: what leads out is never looked into
        try:
            is_inside = all(map(lies_inside, itertools.chain((place,), files)))
        except OSError as error:
            raise RecipeError(f"the folder {place.name} cannot be read", "check its rights and its links") from error
        if not is_inside:
            told = place.name if Path(path).is_absolute() else path  # where a server's folders lie is nobody's business
            raise RecipeError(f"the recipe names {told!r}, outside {what}", "use paths beside the recipe")
    return recipe
