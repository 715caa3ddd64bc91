"""From a folder of files to a recipe, by names alone: which model is the base, which are experts, what belongs to each.

A model is a file, NAME.safetensors or a torch one, or a folder NAME/ that holds its weights: Hugging Face's, or that
of a task-vector repository. What belongs to it lies beside it under its name, NAME.test.zip, or in a folder of its
name, NAME/test.zip. Nothing is read but headers, and the configs that lie beside weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.checkpoints.layout_table import TIMM
from esm_viz.core.errors import CheckpointError, RecipeError
from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.data.images.image_decoder import SUFFIXES
from esm_viz.data.images.image_source import KINDS as PACKED
from esm_viz.inspection import file_judgement

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
RECIPES = ("recipe.yaml", "recipe.yml")
ARCH, CONFIG, OPEN_CLIP_CONFIG = "arch.json", "config.json", "open_clip_config.json"
"""Files that say the architecture: ours, and those that lie beside weights of others."""
SHAPES = "shapes"
DEEPEST = 3  # levels below the folder where models are looked for

_BASES = ("base", "zeroshot", "pretrained", "nonlinear_zeroshot")
_WHOLE = (
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "adapter_model.safetensors"),
)  # weights of a Hugging Face folder
_FINETUNED = ("nonlinear_finetuned.pt", "finetuned.pt")  # of a task-vector repository, a folder a task
_ZEROSHOT = ("zeroshot.pt", "nonlinear_zeroshot.pt")  # its base, above the tasks or once in each
_VALIDATED = "Val"  # it trains on a part of each task, and says so in the folder's name: CarsVal
_HEAD = "head_"  # its heads are head_Cars.pt
_PARTS = ("proxies", "head", "validation", "test")
_MOST_TOLD = 5  # names in a sentence


@dataclass(frozen=True, slots=True)
class FoundProject:
    """What a folder holds.

    Attributes:
        recipe: of its models.
        arch_from: what says the architecture: ARCH, CONFIG or SHAPES; empty where a recipe was there.
        unused: names beside the base that no model was made of.
    """

    recipe: Recipe
    arch_from: str = ""
    unused: tuple[str, ...] = ()

    @property
    def arch_told(self) -> str:
        """Say where the architecture is from; empty where a recipe says it."""
        said = {ARCH: f"as {ARCH} says", CONFIG: "as the config beside the weights says", SHAPES: "by its shapes"}
        return said.get(self.arch_from, "")

    @property
    def unused_told(self) -> str:
        """Say what no model was made of; empty where there is nothing such."""
        more = f" and {len(self.unused) - _MOST_TOLD} more" if len(self.unused) > _MOST_TOLD else ""
        return f"Not used: {', '.join(self.unused[:_MOST_TOLD])}{more}." if self.unused else ""


@dataclass(frozen=True, slots=True)
class _Model:
    """A model on disk: `name` for people, `path` for its Checkpoint, `folder` its own one where it has one."""

    name: str
    path: Path
    folder: Path | None = None


def find(folder: Path) -> FoundProject:
    """Make a recipe from the names in a folder, or in the first one below it that has a base and experts.

    The architecture is arch.json's, or the one of a config beside weights, or the open_clip model whose shapes the base
    has. Which activation its blocks have is said only where one of these says it, since weights do not.

    Raises:
        EsmVizError: there is no base, no expert, or no architecture that fits; two models have one name.
    """
    place, base, experts = _project(folder)
    arch, arch_from = _arch(place, base, experts)
    entries = [_entry(place, folder, expert) for expert in experts]
    raw = {"merge_method": "esm", "arch": arch, "base_model": {"path": _from(place, base.path)}, "models": entries}
    recipe = parse_mapping(raw, place, place.name)
    return FoundProject(recipe, arch_from, _unused(place, recipe))


def holds_model(names: Iterable[str]) -> bool:
    """Say whether a folder with files of these names is one model's own."""
    return any(name in _WHOLE or name in _FINETUNED for name in names)


def is_project(place: Path) -> bool:
    """Say whether a folder itself has a recipe, or a base and an expert."""
    if any((place / name).is_file() for name in RECIPES):
        return True
    bases, experts = _models(place)
    return bool(bases and experts)


def _project(folder: Path) -> tuple[Path, _Model, Sequence[_Model]]:
    """Return the first folder that has a base and experts, with both.

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
    """Yield a folder and those below it, the nearest first."""
    level = [folder]
    for _ in range(DEEPEST + 1):
        yield from level
        level = [entry for place in level for entry in _listed(place) if entry.is_dir() and not entry.is_symlink()]


def _listed(place: Path) -> list[Path]:
    """Return what is in a folder, by name, without what is hidden or only for one computer's own use."""
    try:
        return sorted(entry for entry in place.iterdir() if not entry.name.startswith((".", "__")))
    except OSError:  # no right to look there
        return []


def _models(place: Path) -> tuple[list[_Model], list[_Model]]:
    """Return what may be the base, and the experts, that lie in a folder itself."""
    listed = _listed(place)
    models = [model for entry in listed if (model := _model(entry)) is not None]
    bases = [model for model in models if model.name.lower() in _BASES]
    experts = [model for model in models if model not in bases]
    if not bases:  # a task-vector repository may keep it with every task
        inner = (model.folder / name for model in experts if model.folder for name in _ZEROSHOT)
        bases = [_Model("base", path) for path in inner if path.is_file()][:1]
    return bases, experts


def _model(entry: Path) -> _Model | None:
    """Return the model that a file or folder is, None where it is none."""
    if entry.is_file():
        beside = entry.name.startswith(_HEAD) or entry.stem.endswith(tuple(f".{part}" for part in _PARTS))
        named = entry.suffix in WEIGHTS and not beside and not holds_model((entry.name,))
        return _Model(entry.stem, entry) if named else None
    for name in _FINETUNED:
        if (entry / name).is_file():
            return _Model(entry.name.removesuffix(_VALIDATED) or entry.name, entry / name, entry)
    return _Model(entry.name, entry, entry) if any((entry / name).is_file() for name in _WHOLE) else None


def _entry(place: Path, root: Path, model: _Model) -> dict[str, str]:
    """Return a model as a recipe writes it, with all that belongs to it."""
    images = {part: _images(place, model, part) for part in ("proxies", "validation", "test")}
    found = {**images, "head": _head(place, root, model)}
    paths = {part: _from(place, path) for part in _PARTS if (path := found[part]) is not None}
    return {"name": model.name, "path": _from(place, model.path), **paths}


def _images(place: Path, model: _Model, part: str) -> Path | None:
    """Return the images that are one part of a model's data."""
    own = model.folder or place / model.name
    stems = [place / f"{model.name}.{part}", own / part, *([place / model.name] if part == "proxies" else [])]
    for stem in stems:
        for path in (stem, *(stem.with_name(stem.name + suffix) for suffix in PACKED)):
            listed = _is_pictures(path) if path.is_dir() else path.suffix in PACKED and path.is_file()
            if listed and path != model.path:
                return path
    return None


def _is_pictures(folder: Path) -> bool:
    """Say whether a folder holds images, and is not one with a model or with the parts of its data."""
    parts = any(entry.stem in _PARTS for entry in _listed(folder))
    return (
        not parts
        and _model(folder) is None
        and any(path.name.lower().endswith((*SUFFIXES, ".parquet")) for path in folder.rglob("*"))
    )


def _head(place: Path, root: Path, model: _Model) -> Path | None:
    """Return the file with a model's head: one of its own, or the weights where they bring one along."""
    own = model.folder or place / model.name
    names = {model.name, own.name}
    above = [folder for folder in place.parents if folder.is_relative_to(root)]
    stems = [place / f"{model.name}.head", own / "head"]
    stems += [folder / f"{_HEAD}{name}" for folder in (own, place, *above) for name in sorted(names)]
    for stem in stems:
        for suffix in WEIGHTS:
            path = stem.with_name(stem.name + suffix)
            if path.is_file():
                return path
    return model.path if _brings_head(model) else None


def _brings_head(model: _Model) -> bool:
    """Say whether a model is a timm ViT with its classifier on top; one that cannot be opened is refused in its row."""
    try:
        checkpoint = Checkpoint(model.name, model.path)
    except CheckpointError:
        return False
    return checkpoint.layout.name == TIMM.name and any(name.endswith("head.weight") for name in checkpoint.names)


def _arch(place: Path, base: _Model, experts: Sequence[_Model]) -> tuple[Any, str]:
    """Return the architecture as a recipe writes it, and what says it.

    Raises:
        RecipeError: arch.json is not JSON, or nothing says it.
        CheckpointError: the base cannot be read, or its config is that of another kind of model.
    """
    written = place / ARCH
    if written.is_file():
        try:
            return json.loads(written.read_text(encoding="utf-8")), ARCH
        except (OSError, ValueError, RecursionError) as error:
            raise RecipeError(f"{ARCH} is not JSON", "give an open_clip model config") from error
    for model in (base, *experts):
        try:
            config = Checkpoint(model.name, model.path).config()
        except CheckpointError:
            if model is base:
                raise
            continue  # refused in its row
        if config is not None:
            return config, CONFIG
    names = file_judgement.fitting_names(base.path)
    if not names:
        raise RecipeError(
            f"no open_clip model has the shapes of {base.path.name}",
            f"put its config.json beside it, or {ARCH} with an open_clip model config",
        )
    return file_judgement.config_of(names[0]), SHAPES


def _unused(place: Path, recipe: Recipe) -> tuple[str, ...]:
    """Return the names in a folder that a recipe made of it does not use."""
    used = {ARCH, CONFIG, OPEN_CLIP_CONFIG, *(path.split("/")[0] for path in recipe.paths)}
    return tuple(entry.name for entry in _listed(place) if entry.name not in used)


def _from(place: Path, path: Path) -> str:
    """Write a path as a recipe in a folder does."""
    return Path(os.path.relpath(path, place)).as_posix()
