"""One recipe for one column of the papers' tables: 8, 14 or 20 tasks, α searched, from a user's own files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.core.errors import EsmVizError, RecipeError
from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.data.images.image_source import class_names
from esm_viz.merge import with_parameters
from esm_viz.merge.preset_lookup import PRESETS, with_preset
from esm_viz.papers.papers_tasks import SIZES, PapersTask, papers_tasks
from esm_viz.papers.task_files import base_in, head_of, images_of, place_of, weights_of

PARTS = ("proxies", "validation", "test")
_TUNED = ("ViT-B-32", "ViT-B-16", "ViT-L-14")  # OpenAI's, which have QuickGELU, whatever the repositories call them


def table_recipe(
    arch: str | Mapping[str, Any],
    count: int,
    checkpoints: Path,
    data: Path,
    *,
    base: Path | None = None,
    preset: str = "esm_journal",
) -> Recipe:
    """Return the recipe of the papers' first `count` tasks; its paths are relative to the checkpoints' folder.

    Args:
        arch: open_clip's name; that of a tower the papers tune stands for OpenAI's, which has QuickGELU. Or a config.
        count: 8, 14 or 20.
        checkpoints: a task-vector repository's folder, with a folder for each architecture or without.
        data: a folder with one folder for each data set.
        base: the pre-trained weights, where they lie elsewhere.
        preset: the method and its knobs; α is searched where the paper does so.

    Raises:
        RecipeError: something is missing, all of it named; or the number, the preset or the architecture is wrong.
    """
    if count not in SIZES:
        raise RecipeError(f"the papers have no table of {count} tasks", f"give {', '.join(map(str, SIZES))}")
    place = place_of(checkpoints, arch if isinstance(arch, str) else "")
    base = base or base_in(place, checkpoints)
    words = base is not None and _has_text_tower(base)
    found = [_look(task, place, data) for task in papers_tasks()[:count]]
    missing = [] if base else ["no base (zeroshot.pt or base.safetensors)"]
    for what in ("weights", "heads", *PARTS):
        lacking = [files.task.name for files in found if not files.has(what, words)]
        if lacking:
            missing.append(f"no {what}{' images' if what in ('validation', 'test') else ''} of {', '.join(lacking)}")
    strange = [f"{files.task.name} ({', '.join(files.strange[:2])} …)" for files in found if files.strange]
    if strange:
        missing.append(f"class folders that are none of the task's in {', '.join(strange)}")
    if base is None or missing:
        told = "; ".join(missing)
        remedy = "add what is missing under the tasks' names"
        if not words and "no heads" in told:
            remedy += ", or as a base one with a text tower, which makes heads from words"
        raise RecipeError(f"for the papers' {count} tasks there are {told}", remedy)
    raw = {
        "merge_method": "esm",
        "arch": f"{arch}-quickgelu" if arch in _TUNED else arch,
        "base_model": {"path": _written(base, checkpoints)},
        "models": [files.entry(checkpoints) for files in found],
    }
    recipe = with_preset(parse_mapping(raw, checkpoints), preset)
    return recipe if PRESETS[preset].fixes_alpha else with_parameters(recipe, alpha="search")


@dataclass(frozen=True, slots=True)
class _Files:
    """What was found of one task.

    Attributes:
        weights, head: None where there are none.
        images: by part; proxies are the validation images where there are none of their own, whose labels nobody reads.
        names: what the labelled images call each row's class; empty where they count by numbers alone.
        strange: class folders that are none of the task's.
    """

    task: PapersTask
    weights: Path | None
    head: Path | None
    images: Mapping[str, Path | None]
    names: tuple[str, ...]
    strange: tuple[str, ...]

    def has(self, what: str, words: bool) -> bool:
        """Say whether this was found; a head is not needed where words make one."""
        return bool({"weights": self.weights, "heads": self.head or words, **self.images}[what])

    def entry(self, folder: Path) -> dict[str, Any]:
        """Return it as a recipe in a folder writes it."""
        task, paths = self.task, {"path": self.weights, **self.images, "head": self.head}
        entry: dict[str, Any] = {"name": task.name}
        entry |= {key: _written(path, folder) for key, path in paths.items() if path}
        entry.setdefault("head", {"classes": list(task.classes), "templates": list(task.templates)})
        if self.names and (self.head or self.names != task.classes):
            entry["classes"] = list(self.names)
        return entry


def _look(task: PapersTask, place: Path, data: Path) -> _Files:
    """Look for all that belongs to a task."""
    images = {part: images_of(task, data, part) for part in PARTS}
    images["proxies"] = images["proxies"] or images["validation"]
    names: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    for path in (images["test"], images["validation"]):
        levels = _class_names(path) if path else ()
        if levels:
            known = next(filter(None, map(task.named, levels)), None)
            names, strange = names or known or (), strange if known else levels[0]
    return _Files(task, weights_of(task, place), head_of(task, place), images, names, strange)


def _class_names(path: Path) -> tuple[tuple[str, ...], ...]:
    try:
        return class_names(path)
    except EsmVizError:  # told with its reason when the recipe is judged
        return ()


def _has_text_tower(base: Path) -> bool:
    try:
        return Checkpoint("base", base).has_text
    except EsmVizError:  # likewise
        return False


def _written(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
