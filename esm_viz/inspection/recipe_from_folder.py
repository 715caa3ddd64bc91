"""Making a recipe from a folder: file names decide which model is the base and which images and head belong to a model.

A model is a file, NAME.safetensors or a torch file, or a folder NAME/ with weights, as of Hugging Face or a task-vector
repository, beside the base or in models/. Its images and head lie beside it, as NAME.test.zip, or in a folder of its
name, as NAME/test.zip, or in folders of their own, as proxies/NAME, heads/NAME and data/NAME/test. Only headers and the
configs beside weights are read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.checkpoints.layout_table import TIMM
from esm_viz.checkpoints.model_config import PROCESSORS, kind_of_config
from esm_viz.checkpoints.preparation_config import preparation_beside
from esm_viz.checkpoints.weight_files import ADAPTERS
from esm_viz.core.assets_folder import assets_folder
from esm_viz.core.errors import CheckpointError, RecipeError
from esm_viz.core.folder_entries import entries
from esm_viz.core.recipe import Recipe, load_text, parse_mapping
from esm_viz.data.images.image_decoder import SUFFIXES
from esm_viz.data.images.image_preprocessing import KEY, preprocessing_of
from esm_viz.data.images.image_source import KINDS as PACKED
from esm_viz.families.model_families import architecture_of
from esm_viz.inspection import file_judgement

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
RECIPES = ("recipe.yaml", "recipe.yml")
ARCH, CONFIG, OPEN_CLIP_CONFIG = "arch.json", "config.json", "open_clip_config.json"
"""Files that give the architecture: esm_viz's own, and the configs that other libraries write beside weights."""
SHAPES, DEMO = "shapes", "demo"
MODELS, HEADS, DATA = "models", "heads", "data"
"""Folders beside the base for experts, heads, and NAME/validation and NAME/test; proxies/ is the fourth."""
DEEPEST = 3  # levels below the folder where models are looked for

_BASES = ("base", "zeroshot", "pretrained", "nonlinear_zeroshot")
_WHOLE = (
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin", *ADAPTERS),
)  # weights of a Hugging Face folder
_FINETUNED = ("nonlinear_finetuned.pt", "finetuned.pt")  # of a task-vector repository, in one folder per task
_ZEROSHOT = ("zeroshot.pt", "nonlinear_zeroshot.pt")  # its base, above the tasks' folders or in each of them
_TRAINING = re.compile(
    r"(optimizer|scheduler|scaler|training_args|trainer_state|rng_state\w*|random_states\w*)(_\d+)?\.\w+"
)
"""Files that training libraries keep beside the weights to resume from; they are no models."""
_VALIDATED = "Val"  # suffix of its folders for training without the validation split: CarsVal
_HEAD = "head_"  # its heads are head_Cars.pt
_PARTS = ("proxies", "head", "validation", "test")
_MOST_TOLD = 5  # most names in a sentence


@dataclass(frozen=True, slots=True)
class FoundProject:
    """The recipe made from a folder.

    Attributes:
        recipe: the recipe of the folder's models.
        arch_from: source of the architecture: ARCH, CONFIG, SHAPES or DEMO; empty if the folder has a recipe.
        unused: names in the base's folder that the recipe does not use.
        remarks: sentences about the preparation of images that configs beside weights ask for.
    """

    recipe: Recipe
    arch_from: str = ""
    unused: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def arch_told(self) -> str:
        """Say in words where the architecture comes from; empty if it comes from a recipe."""
        said = {ARCH: f"as {ARCH} says", CONFIG: "as the config beside the weights says", SHAPES: "by its shapes"}
        said[DEMO] = "that of the embedded demo, which has its shapes"
        return said.get(self.arch_from, "")

    @property
    def unused_told(self) -> str:
        """Return a sentence with the unused names; empty if there are none."""
        more = f" and {len(self.unused) - _MOST_TOLD} more" if len(self.unused) > _MOST_TOLD else ""
        return f"Not used: {', '.join(self.unused[:_MOST_TOLD])}{more}." if self.unused else ""


@dataclass(frozen=True, slots=True)
class _Model:
    """A model on disk: its name, the path of its checkpoint, and its own folder if it has one."""

    name: str
    path: Path
    folder: Path | None = None


def find(folder: Path) -> FoundProject:
    """Make a recipe from the names in a folder, or in the first subfolder that has a base and experts.

    The architecture comes from arch.json, or from a config beside weights, or it is the open_clip model with the base's
    shapes. The recipe gives the activation only if a config does, since weights do not show it.

    Raises:
        EsmVizError: there is no base, no expert or no fitting architecture, or two models have the same name.
    """
    place, base, experts = _project(folder)
    arch, arch_from = _arch(place, base, experts)
    arch, remarks = _prepared(arch, base, experts)
    if arch_from == SHAPES and len(names := file_judgement.fitting_names(base.path)) > 1:
        others = ", ".join(names[1:])
        remarks += (f"The base has the shapes of {names[0]}, which is taken, and of {others}: correct arch if needed.",)
    entries = [_entry(place, folder, expert) for expert in experts]
    raw = {"merge_method": "esm", "arch": arch, "base_model": {"path": _from(place, base.path)}, "models": entries}
    recipe = parse_mapping(raw, place, place.name)
    return FoundProject(recipe, arch_from, _unused(place, recipe), remarks)


def arch_beside(recipe: Recipe) -> dict[str, Any]:
    """Return the architecture of a recipe without one, and the preparation of images, from the config beside its base.

    Raises:
        RecipeError: there is no such config.
        CheckpointError: the base or its config cannot be read, or the config is that of another kind of model.
    """
    base = recipe.resolve(recipe.base)
    config = Checkpoint("base", base).config()
    if config is None:
        kind = kind_of_config(base)
        names = file_judgement.fitting_names(base)
        lines = file_judgement.arch_lines(names)
        remedy = f"add {lines}" if lines else "add arch, an open_clip name or model config"
        raise RecipeError(
            f"arch is missing, and {kind or 'no config lies beside the base'}", remedy, recipe.folder.name
        )
    return _prepared(config, _Model("base", base), ())[0]


def holds_model(names: Iterable[str]) -> bool:
    """Say whether a folder with files of these names is the folder of one model."""
    return any(name in _WHOLE or name in _FINETUNED for name in names)


def is_project(place: Path) -> bool:
    """Say whether a folder has a recipe, or a base and an expert, not counting subfolders."""
    if any((place / name).is_file() for name in RECIPES):
        return True
    bases, experts = _models(place)
    return bool(bases and experts)


def _project(folder: Path) -> tuple[Path, _Model, Sequence[_Model]]:
    """Return the first folder that has a base and experts, the base, and the experts.

    Raises:
        RecipeError: there is none, or several models could be the base.
    """
    some_base, some_expert = False, False
    for place in _places(folder):
        bases, experts = _models(place)
        if bases and experts:
            if len(bases) > 1:
                names = " and ".join(_from(place, base.path) for base in bases)
                raise RecipeError(f"{names} could both be the base", "keep one of them", place.name)
            return place, bases[0], experts
        some_base, some_expert = some_base or bool(bases), some_expert or bool(experts)
    if some_base:
        raise RecipeError("no expert is beside the base", "add the fine-tuned weights as NAME.safetensors or NAME/")
    if some_expert:
        raise RecipeError(
            "no base model is among the files", "name the pre-trained weights base, zeroshot or pretrained"
        )
    raise RecipeError("no weights are among the files", f"give base and NAME as {', '.join(WEIGHTS)} or folders")


def _places(folder: Path) -> Iterator[Path]:
    """Yield a folder and its subfolders, breadth first."""
    level = [folder]
    for _ in range(DEEPEST + 1):
        yield from level
        level = [entry for place in level for entry in _listed(place) if entry.is_dir() and not entry.is_symlink()]


def _listed(place: Path) -> list[Path]:
    """Return a folder's entries by name, without hidden files and files of the operating system."""
    try:
        return sorted(entry for entry in place.iterdir() if not entry.name.startswith((".", "__")))
    except OSError:  # no permission
        return []


def _models(place: Path) -> tuple[list[_Model], list[_Model]]:
    """Return the possible bases and the experts in a folder and its models/, not counting other subfolders."""
    listed = [*_listed(place), *_listed(place / MODELS)]
    models = [model for entry in listed if (model := _model(entry)) is not None]
    bases = [model for model in models if model.name.lower() in _BASES]
    experts = [model for model in models if model not in bases]
    if not bases:  # a task-vector repository may keep it in every task's folder
        inner = (model.folder / name for model in experts if model.folder for name in _ZEROSHOT)
        bases = [_Model("base", path) for path in inner if path.is_file()][:1]
    return bases, experts


def _model(entry: Path) -> _Model | None:
    """Return a file or folder as a model; None if it is not one."""
    if entry.is_file():
        beside = entry.name.startswith(_HEAD) or entry.stem.endswith(tuple(f".{part}" for part in _PARTS))
        named = (
            entry.suffix.lower() in WEIGHTS
            and not beside
            and not _TRAINING.fullmatch(entry.name.lower())
            and not holds_model((entry.name,))
        )
        return _Model(entry.stem, entry) if named else None
    for name in _FINETUNED:
        if (entry / name).is_file():
            return _Model(entry.name.removesuffix(_VALIDATED) or entry.name, entry / name, entry)
    return _Model(entry.name, entry, entry) if any((entry / name).is_file() for name in _WHOLE) else None


def _entry(place: Path, root: Path, model: _Model) -> dict[str, str]:
    """Return a model's entry in a recipe, with its images and head."""
    images = {part: _images(place, model, part) for part in ("proxies", "validation", "test")}
    found = {**images, "head": _head(place, root, model)}
    paths = {part: _from(place, path) for part in _PARTS if (path := found[part]) is not None}
    return {"name": model.name, "path": _from(place, model.path), **paths}


def _images(place: Path, model: _Model, part: str) -> Path | None:
    """Return the path of one part of a model's images, such as "test"; None without it."""
    own, name = model.folder or place / model.name, model.name
    stems = [place / f"{name}.{part}", own / part, *([place / name] if part == "proxies" else []), place / part / name]
    stems += [place / DATA / name / part]
    if part == "validation":
        stems += [own / "val", place / DATA / name / "val"]
    for stem in stems:
        for path in (stem, _file(stem, PACKED)):
            if path is not None and path != model.path and (path.is_file() or _is_pictures(path)):
                return path
    return None


def _file(stem: Path, suffixes: Sequence[str]) -> Path | None:
    """Return the file with this stem and the first of some suffixes, whatever their case; None without one."""
    found = {}
    for entry in stem.parent.iterdir() if stem.parent.is_dir() else ():
        suffix = entry.name.removeprefix(stem.name).lower()
        if suffix in suffixes and entry.name[: len(stem.name)] == stem.name and entry.is_file():
            found[suffix] = entry
    return next((found[suffix] for suffix in suffixes if suffix in found), None)


def _is_pictures(folder: Path) -> bool:
    """Say whether a folder holds images, and neither a model nor subfolders such as "test"."""
    if any(entry.stem in _PARTS for entry in _listed(folder)) or _model(folder) is not None:
        return False
    try:
        return any(entry.name.lower().endswith((*SUFFIXES, ".parquet")) for entry in entries(folder))
    except OSError:  # no permission
        return False


def _head(place: Path, root: Path, model: _Model) -> Path | None:
    """Return the file with a model's head: a separate file, or the weights if they include a head."""
    own = model.folder or place / model.name
    names = {model.name, own.name}
    above = [folder for folder in place.parents if folder.is_relative_to(root)]
    stems = [place / f"{model.name}.head", own / "head", place / HEADS / model.name]
    stems += [folder / f"{_HEAD}{name}" for folder in (own, place, *above) for name in sorted(names)]
    for stem in stems:
        if (path := _file(stem, WEIGHTS)) is not None:
            return path
    return model.path if _brings_head(model) else None


def _brings_head(model: _Model) -> bool:
    """Say whether a model is a timm ViT with a classifier; False if it cannot be opened, which its verdict reports."""
    try:
        checkpoint = Checkpoint(model.name, model.path)
    except CheckpointError:
        return False
    return checkpoint.layout.name == TIMM.name and any(name.endswith("head.weight") for name in checkpoint.names)


def _arch(place: Path, base: _Model, experts: Sequence[_Model]) -> tuple[Any, str]:
    """Return the architecture for a recipe, and where it comes from.

    Raises:
        RecipeError: arch.json is not JSON, or no architecture was found.
        CheckpointError: the base cannot be read, or its config is the config of another kind of model.
    """
    written = _file(place / Path(ARCH).stem, (Path(ARCH).suffix,))
    if written is not None:
        try:
            return json.loads(written.read_text(encoding="utf-8-sig")), ARCH
        except (OSError, ValueError, RecursionError) as error:
            raise RecipeError(f"{ARCH} is not JSON", "give an open_clip model config") from error
    for model in (base, *experts):
        try:
            config = Checkpoint(model.name, model.path).config()
        except CheckpointError:
            if model is base:
                raise
            continue  # its verdict will report it
        if config is not None:
            return config, CONFIG
    names = file_judgement.fitting_names(base.path)
    if not names and (ours := _demo_arch(base)):
        return ours, DEMO
    if not names:
        kind = kind_of_config(base.path)
        raise RecipeError(
            f"no open_clip model has the shapes of {base.path.name}" + (f", and {kind}" if kind else ""),
            f"give {ARCH} with an open_clip model config"
            if kind
            else f"put its config.json beside it, or {ARCH} with an open_clip model config",
        )
    return file_judgement.config_of(names[0]), SHAPES


def _demo_arch(base: _Model) -> dict[str, Any] | None:
    """Return the architecture of the embedded demo, which open_clip does not know, if a base has its shapes."""
    recipe = load_text(assets_folder() / "demo" / "recipe.yaml")
    known = recipe.arch_config
    same = known and architecture_of("", known).shapes == Checkpoint("base", base.path).tower_shapes()
    return known if same else None


def _prepared(arch: Any, base: _Model, experts: Sequence[_Model]) -> tuple[Any, tuple[str, ...]]:
    """Return the architecture with the preparation of images that configs beside weights ask for, and remarks on it."""
    found = {
        model.name: prepared for model in (base, *experts) if (prepared := preparation_beside(model.path, model.name))
    }
    if not found:
        return arch, ()
    name, first = next(iter(found.items()))
    others = [other for other, prepared in found.items() if prepared.config != first.config]
    remarks = [f"{first.file} of {name} also asks for {what}, which a recipe cannot express." for what in first.lost]
    if others:
        remarks.append(f"{', '.join(others)}: the config asks for other preparation of images than that of {name}.")
    if not isinstance(arch, dict) or KEY in arch:
        said = f"{ARCH} decides how images are prepared, {first.file} of {name} is not used."
        return arch, (said, *remarks) if isinstance(arch, str) or arch[KEY] != first.config else ()
    try:
        words = preprocessing_of("", {KEY: first.config}, architecture_of("", arch).image_size).words
    except RecipeError as error:
        return arch, (f"{first.file} of {name} is not used: {error.what}.",)
    return {**arch, KEY: first.config}, (f"Images as {first.file} of {name} says: {words}.", *remarks)


def _unused(place: Path, recipe: Recipe) -> tuple[str, ...]:
    """Return the names in a folder that its recipe does not use."""
    used = {ARCH, CONFIG, OPEN_CLIP_CONFIG, *PROCESSORS, *(path.split("/")[0] for path in recipe.paths)}
    return tuple(entry.name for entry in _listed(place) if entry.name not in used and entry.name.lower() != ARCH)


def _from(place: Path, path: Path) -> str:
    """Return a path relative to a recipe's folder."""
    return Path(os.path.relpath(path, place)).as_posix()
