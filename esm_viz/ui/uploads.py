"""What a visitor uploads: moved out of the shared folder, unpacked with care, and read as a recipe."""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from esm_viz.data import images
from esm_viz.errors import RecipeError
from esm_viz.pipeline import Project
from esm_viz.recipe import Recipe, load_text, parse_mapping
from esm_viz.types import Report
from esm_viz.ui.place import Place

MOST_FILES = 20_000
MOST_BYTES = 20 * 10**9
SUFFIXES = (".safetensors", ".yaml", ".yml", ".zip", ".json")


def take(files: list[str], folder: Path, arch: str) -> Recipe:
    """Move uploaded files to a private folder and read the recipe in them, or make one from their names.

    Raises:
        EsmVizError: what is wrong, in one sentence.
    """
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
    recipes = sorted(p for p in folder.rglob("*") if p.name in ("recipe.yaml", "recipe.yml"))
    if recipes:
        return contained(load_text(recipes[0]), folder)
    return contained(_from_names(folder, arch), folder)


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


def contained(recipe: Recipe, folder: Path) -> Recipe:
    """Return the recipe if every file it names lies among the uploaded ones.

    Raises:
        RecipeError: a path leads out of the upload.
    """
    paths = [recipe.base]
    for model in recipe.models:
        paths += [model.path, model.proxies, model.validation, model.test]
        paths += [model.head] if isinstance(model.head, str) else []
    for path in filter(None, paths):
        if not recipe.resolve(path).resolve().is_relative_to(folder.resolve()):
            raise RecipeError(f"the recipe names {path!r}, outside the upload", "use paths beside the recipe")
    return recipe


def _from_names(folder: Path, arch: str) -> Recipe:
    """Make a recipe from plain names: base, and for each expert its weights, images and head."""
    weights = {path.stem: path.name for path in sorted(folder.glob("*.safetensors"))}
    base = weights.pop("base", "")
    if not base:
        raise RecipeError("no base model is among the files", "name the pre-trained weights base.safetensors")
    heads = {name: weights.pop(name) for name in list(weights) if name.endswith(".head")}
    if not weights:
        raise RecipeError("no expert is among the files", "add the fine-tuned weights as NAME.safetensors")
    models: list[dict[str, Any]] = []
    for name, file in weights.items():
        if not (folder / f"{name}.zip").is_file():
            raise RecipeError(f"{name} has no proxy images", f"add {name}.zip with up to 32 images")
        head = {"head": heads[f"{name}.head"]} if f"{name}.head" in heads else {}
        models.append({"name": name, "path": file, "proxies": f"{name}.zip", **head})
    config = folder / "arch.json"
    try:
        described: Any = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else arch
    except ValueError as error:
        raise RecipeError("arch.json is not JSON", "give an open_clip model config") from error
    return parse_mapping(
        {"merge_method": "esm", "arch": described, "base_model": {"path": base}, "models": models}, folder
    )


def opener(read: Callable[[], Recipe], here: Place) -> Callable[[Report], Project]:
    """Return what opens a recipe; all projects share one bounded cache, whose keys are contents, not places."""
    return lambda report: Project.open(read(), device=here.device, cache=here.demo.stages.cache, report=report)
