"""A recipe from names on a hub: the tasks are called as their repositories, without what all names share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.hub.hub_name import ModelName
from esm_viz.hub.pasted_names import PastedModel
from esm_viz.inspection.recipe_file import arch_of

_MARKS = "-_."  # between the parts of a repository's name


def recipe_from_names(base: ModelName, models: Sequence[PastedModel], folder: Path = Path()) -> Recipe:
    """Return the recipe of models by name; the base's header and config are read for the architecture.

    Args:
        base: the pre-trained model; left out where it is among the models.
        models: the fine-tunes, with the names of their images.
        folder: folder of the recipe.

    Raises:
        HubError: a name cannot be resolved.
        RecipeError: no architecture was found, or only the base is named.
    """
    tuned = [model for model in models if model.name.repository != base.repository or model.name.file != base.file]
    names = task_names(base, [model.name for model in tuned])
    entries: list[dict[str, Any]] = [
        {"name": name, "path": model.name.written, **model.images} for name, model in zip(names, tuned, strict=True)
    ]
    raw = {"merge_method": "esm", "base_model": {"path": base.written}, "models": entries}
    return parse_mapping(raw, folder, "names", arch_of)


def task_names(base: ModelName, models: Sequence[ModelName]) -> list[str]:
    """Return a name for each task: its repository's, without the base's or the begin and end that all share.

    Args:
        base: the pre-trained model.
        models: the fine-tunes.
    """
    whole = [model.name for model in models]
    if len({model.repository for model in models}) < len(models):  # several files of one repository
        whole = [f"{model.name}-{Path(model.file or 'model').stem}" for model in models]
    shared = [*whole, base.name] if len(whole) == 1 else whole
    begin = _cut(_shared(shared))
    end = _cut(_shared([name[::-1] for name in whole]))[::-1] if len(whole) > 1 else ""
    bare = [name[len(begin) : len(name) - len(end)].strip(_MARKS) for name in whole]
    if len(whole) == 1 and whole[0].startswith(base.name):
        bare = [whole[0].removeprefix(base.name).strip(_MARKS)]
    found = bare if all(bare) and len(set(bare)) == len(bare) else whole
    if len(set(found)) < len(found):
        found = [f"{model.owner}-{name}" for model, name in zip(models, found, strict=True)]
    return [re.sub(r"[^\w.+-]", "-", name)[:80] for name in found]


def _shared(words: Sequence[str]) -> str:
    """Return the characters that all words begin with."""
    same = (marks[0] for marks in takewhile(lambda marks: len(set(marks)) == 1, zip(*words, strict=False)))
    return "".join(same)


def _cut(shared: str) -> str:
    """Return a shared begin up to its last mark, so that no word is cut."""
    at = max(shared.rfind(mark) for mark in _MARKS)
    return shared[: at + 1]
