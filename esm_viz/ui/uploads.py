"""What a visitor brings: moved out of the shared folder, unpacked with care, and read as a recipe."""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from esm_viz import judging
from esm_viz.data import images
from esm_viz.data.listed import METHODS
from esm_viz.errors import RecipeError
from esm_viz.recipe import Recipe, load_text, parse_mapping

MOST_FILES = 20_000
MOST_BYTES = 20 * 10**9
RECIPES = ("recipe.yaml", "recipe.yml")
SUFFIXES = (".safetensors", ".yaml", ".yml", ".zip", ".json")
_PLACES = {"proxies": "", "head": ".head", "validation": ".validation", "test": ".test"}  # NAME.validation.zip …
_BESIDE = tuple(suffix for suffix in _PLACES.values() if suffix)


def take(files: list[str], folder: Path) -> Recipe:
    """Move uploaded files to a private folder and read the recipe in them, or make one from their names.

    Args:
        files: where they lie now; none of them stays there.
        folder: that is theirs alone; removed where they are refused.

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


def _take(files: list[str], folder: Path) -> Recipe:
    names = [Path(file).name for file in files]
    for name in names:
        if not name.lower().endswith(SUFFIXES):
            raise RecipeError(f"{name} is of no kind that is read here", f"upload {', '.join(SUFFIXES)}")
    if len(set(names)) != len(names):
        raise RecipeError("two files have the same name", "rename one of them")
    for file, name in zip(files, names, strict=True):
        _bring(Path(file), folder / name)
    archives = [name for name in names if name.lower().endswith(".zip")]
    if archives == names and len(names) == 1:
        unpack(folder / names[0], folder)
    recipes = sorted(path for path in folder.rglob("*") if path.name in RECIPES)
    return contained(load_text(recipes[0]) if recipes else from_names(_place_of_base(folder)), folder, "the upload")


def _place_of_base(folder: Path) -> Path:
    """Return where the base lies: a zip often has one folder around its files."""
    return next((path.parent for path in sorted(folder.rglob("base.safetensors"))), folder)


def _bring(source: Path, target: Path) -> None:
    """Move an uploaded file out of Gradio's folder, where it lies under a name made from its content.

    Raises:
        RecipeError: somebody who uploaded the same file at the same moment took it first.
    """
    try:
        shutil.move(source, target)
    except FileNotFoundError as error:
        raise RecipeError(f"{target.name} came twice at the same moment", "upload it again") from error


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip: plain files only, nothing outside the folder, bounded in number and size.

    Raises:
        RecipeError: the zip is damaged, or holds what it should not.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            entries = [entry for entry in source.infolist() if not entry.is_dir()]
            if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise RecipeError(f"{archive.name} unpacks to too much", "upload fewer or smaller files")
            for entry in entries:
                _unpack_one(source, entry, folder)
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError) as error:
        raise RecipeError(f"{archive.name} is damaged or not a zip", "pack it again") from error


def _unpack_one(source: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if entry.compress_type not in METHODS:
        raise RecipeError(f"{entry.filename} is packed in an unusual way", "pack it again")
    link = (entry.external_attr >> 16) & 0o170000 == 0o120000
    if path.is_absolute() or ".." in path.parts or link or ":" in entry.filename:
        raise RecipeError(f"the zip names {entry.filename!r}", "pack plain files below one folder")
    if not entry.filename.lower().endswith((*SUFFIXES, *images.SUFFIXES)):
        return
    target = folder.joinpath(*path.parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(entry) as packed, target.open("wb") as plain:
        left = entry.file_size
        while block := packed.read(min(1 << 20, left + 1)):
            left -= len(block)
            if left < 0:
                raise RecipeError(f"{entry.filename} is larger than the zip says", "pack it again")
            plain.write(block)


def contained(recipe: Recipe, folder: Path, what: str) -> Recipe:
    """Return the recipe if every file it names, and every file in the folders it names, lies in one folder.

    Args:
        recipe: as read.
        folder: that nothing may lead out of, not by a link either.
        what: the folder, for people.

    Raises:
        RecipeError: a path leads out of it.
    """
    inside = folder.resolve()
    for path in recipe.paths:
        place = recipe.resolve(path)
        files = place.rglob("*") if place.is_dir() and place.resolve().is_relative_to(inside) else ()
        if not all(file.resolve().is_relative_to(inside) for file in (place, *files)):
            raise RecipeError(f"the recipe names {path!r}, outside {what}", "use paths beside the recipe")
    return recipe


def from_names(folder: Path) -> Recipe:
    """Make a recipe from plain names: base, and for each expert its weights, head and images.

    The architecture is arch.json's, or the open_clip model whose shapes the base has; which activation its blocks
    have is not said then, since weights do not tell it.

    Raises:
        EsmVizError: there is no base, no expert, or no architecture that fits.
    """
    weights = {path.stem: path.name for path in sorted(folder.glob("*.safetensors"))}
    base = weights.pop("base", "")
    if not base:
        raise RecipeError("no base model is among the files", "name the pre-trained weights base.safetensors")
    beside = {name: weights.pop(name) for name in list(weights) if name.endswith(_BESIDE)}
    if not weights:
        raise RecipeError("no expert is among the files", "add the fine-tuned weights as NAME.safetensors")
    beside |= {path.stem: path.name for path in sorted(folder.glob("*.zip"))}
    models = []
    for name, file in weights.items():
        places = {key: beside.get(f"{name}{suffix}", "") for key, suffix in _PLACES.items()}
        models.append({"name": name, "path": file, **{key: place for key, place in places.items() if place}})
    raw = {"merge_method": "esm", "arch": _arch(folder), "base_model": {"path": base}, "models": models}
    return parse_mapping(raw, folder)


def _arch(folder: Path) -> Any:
    """Return what arch.json says, or the config of the first open_clip model that fits, without its activation.

    Raises:
        RecipeError: arch.json is not JSON, or no model fits.
    """
    config = folder / "arch.json"
    if config.is_file():
        try:
            return json.loads(config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RecipeError("arch.json is not JSON", "give an open_clip model config") from error
    names = judging.fitting_names(folder / "base.safetensors")
    if not names:
        raise RecipeError(
            "no open_clip model has the shapes of base.safetensors", "add arch.json with its open_clip model config"
        )
    return judging.config_of(names[0])
