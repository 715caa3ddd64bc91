"""The papers' tasks by names on the hub: fine-tunes and data sets that others published, and what differs from them.

The fine-tunes are not the papers' own, and the data sets are other copies: numbers stand beside the published ones to
be compared, not to be ranked. `remarks_on` says for each task what differs.
"""

from __future__ import annotations

import dataclasses
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esm_viz.core.errors import EsmVizError, RecipeError
from esm_viz.core.recipe import HUB, HeadWords, ModelEntry, Recipe, parse_mapping
from esm_viz.data.images.image_source import class_names
from esm_viz.merge import with_parameters
from esm_viz.merge.preset_lookup import PRESETS, with_preset
from esm_viz.papers.papers_tasks import SIZES, PapersTask, papers_tasks, task_named

OWNER = "tanganke"
BASES: Mapping[str, str] = {
    "ViT-B-32": "clip-vit-base-patch32",
    "ViT-B-16": "clip-vit-base-patch16",
    "ViT-L-14": "clip-vit-large-patch14",
}
"""The towers that the papers tune, with the end of their names on the hub."""
BASE_OWNER = "openai"
LETTERS = "EMNIST letters"
EVERY_TASK = (
    "of every task: the fine-tunes are not the papers' own; proxies are images that they were trained on; and α, where "
    "it is searched, is chosen by agreement with the fine-tunes on these proxies, not on validation images"
)
"""What differs for all of them."""


@dataclass(frozen=True, slots=True)
class HubTask:
    """One task's names on the hub.

    Attributes:
        model: end of the fine-tunes' names.
        data: OWNER/NAME[:CONFIG] of the data set; empty if the hub has none.
        test: name of its test split.
        remark: what differs from the papers' own task; empty if only the copies are others.
        classes: classes where they are other ones than the papers'.
        name: the task's name where it is another task than the papers'.
    """

    model: str
    data: str
    test: str = "test"
    remark: str = ""
    classes: tuple[str, ...] = ()
    name: str = ""


TASKS: Mapping[str, HubTask] = {
    "SUN397": HubTask("sun397", "tanganke/sun397"),
    "Cars": HubTask("stanford-cars", "tanganke/stanford_cars"),
    "RESISC45": HubTask("resisc45", "tanganke/resisc45"),
    "EuroSAT": HubTask("eurosat", "tanganke/eurosat"),
    "SVHN": HubTask("svhn", "ufldl-stanford/svhn:cropped_digits"),
    "GTSRB": HubTask("gtsrb", "tanganke/gtsrb"),
    "MNIST": HubTask("mnist", "ylecun/mnist"),
    "DTD": HubTask("dtd", "tanganke/dtd"),
    "Flowers102": HubTask("oxford_flowers102", "dpdl-benchmark/oxford_flowers102"),
    "PCAM": HubTask("pcam", "1aurent/PatchCamelyon"),
    "FER2013": HubTask(
        "fer2013", "", remark="left out, the hub has no data set of its own for it: add images of yours"
    ),
    "OxfordIIITPet": HubTask("oxford-iiit-pet", "timm/oxford-iiit-pet"),
    "STL10": HubTask("stl10", "tanganke/stl10"),
    "CIFAR100": HubTask("cifar100", "tanganke/cifar100"),
    "CIFAR10": HubTask("cifar10", "tanganke/cifar10"),
    "Food101": HubTask("food101", "ethz/food101", "validation", "which is its test split, the papers' own"),
    "FashionMNIST": HubTask("fashion_mnist", "zalando-datasets/fashion_mnist"),
    "EMNIST": HubTask(
        "emnist_letters",
        "tanganke/emnist_letters",
        remark="letters, where the papers have EMNIST's digits: another task, so no published number fits the mean",
        classes=tuple(string.ascii_uppercase),
        name=LETTERS,
    ),
    "KMNIST": HubTask("kmnist", "tanganke/kmnist"),
    "RenderedSST2": HubTask("rendered-sst2", "nateraw/rendered-sst2"),
}
"""By the papers' names, in their order."""


def hub_table_recipe(arch: Any, count: int, preset: str = "esm_journal") -> Recipe:
    """Return the recipe of the papers' first `count` tasks by names on the hub; no hub is asked.

    A task without a data set on the hub is left out.

    Args:
        arch: ViT-B-32, ViT-B-16 or ViT-L-14.
        count: 8, 14 or 20.
        preset: the method and its knobs; α is searched where the paper does so.

    Raises:
        RecipeError: the number, the architecture or the preset is wrong.
    """
    if count not in SIZES:
        raise RecipeError(f"the papers have no table of {count} tasks", f"give {', '.join(map(str, SIZES))}")
    known = arch.removesuffix("-quickgelu") if isinstance(arch, str) else ""
    if known not in BASES:
        raise RecipeError("the hub has no fine-tunes of this arch", f"give {', '.join(BASES)}", "--arch")
    raw = {
        "merge_method": "esm",
        "arch": f"{known}-quickgelu",
        "base_model": {"path": f"{HUB}{BASE_OWNER}/{BASES[known]}"},
        "models": [
            {
                "name": TASKS[task.name].name or task.name,
                "path": f"{HUB}{OWNER}/{BASES[known]}_{TASKS[task.name].model}",
            }
            for task in papers_tasks()[:count]
            if TASKS[task.name].data
        ],
    }
    recipe = with_preset(with_known_data(parse_mapping(raw, Path())), preset)
    return recipe if PRESETS[preset].fixes_alpha else with_parameters(recipe, alpha="search")


def with_known_data(recipe: Recipe) -> Recipe:
    """Return the recipe with the data sets and heads of the papers' tasks, for models by name that have no images.

    Args:
        recipe: the recipe; models of other tasks and models of files stay as they are.
    """
    return recipe.replace(models=tuple(map(_with_data, recipe.models)))


def with_class_names(recipe: Recipe) -> Recipe:
    """Return a downloaded recipe in which each data set's own names of the classes are known to be the head's rows.

    Only heads from the papers' words are concerned. Classes are matched by name; where the names are others and as
    many, they are in the order of the rows, which is that of the data sets from which the papers' words come.

    Args:
        recipe: a recipe whose names are downloaded.
    """
    return recipe.replace(models=tuple(_with_classes(recipe, model) for model in recipe.models))


def remarks_on(tasks: Iterable[str]) -> dict[str, str]:
    """Return what differs from the papers' own data for each task, also for those of their table that are left out.

    Args:
        tasks: names of a recipe's tasks.
    """
    names = {_known(task) or task for task in tasks}
    count = next(size for size in SIZES if names <= set(list(TASKS)[:size])) if names <= set(TASKS) else 0
    found = {}
    for name in list(TASKS)[:count]:
        task = TASKS[name]
        if name in names:
            told = [f"test images are the split {task.test} of {task.data}", task.remark]
            found[task.name or name] = "; ".join(filter(None, told))
        elif task.remark:
            found[name] = task.remark
    return found


def _known(name: str) -> str:
    """Return the papers' name of a task that may be called in another way; empty where it is none."""
    bare = re.sub(r"[-_. ]+", "", name).lower()
    by_model = {re.sub(r"[-_]", "", task.model): key for key, task in TASKS.items()}
    if bare in by_model:
        return by_model[bare]
    task = task_named(name)
    return task.name if task is not None and task.name != "EMNIST" else ""


def _paper(name: str) -> PapersTask:
    return next(task for task in papers_tasks() if task.name == name)


def _with_data(model: ModelEntry) -> ModelEntry:
    key = _known(model.name)
    if not key or not TASKS[key].data or not model.path.startswith(HUB) or model.proxies or model.test:
        return model
    task, paper = TASKS[key], _paper(key)
    data = f"{HUB}datasets/{task.data}"
    head = model.head or HeadWords(task.classes or paper.classes, paper.templates)
    return dataclasses.replace(model, proxies=f"{data}/train", test=f"{data}/{task.test}", head=head)


def _with_classes(recipe: Recipe, model: ModelEntry) -> ModelEntry:
    key, head = _known(model.name), model.head
    labelled = model.test or model.validation
    if not key or model.classes or not isinstance(head, HeadWords) or not labelled.startswith(HUB):
        return model
    if head.classes != (TASKS[key].classes or _paper(key).classes):
        return model
    try:
        levels = class_names(recipe.resolve(labelled))
    except EsmVizError:  # told with its reason when the recipe is judged
        return model
    for found in levels:
        names = dataclasses.replace(_paper(key), classes=head.classes).named(found)
        if names is None and len(found) == len(head.classes):
            names = found
        if names:
            return dataclasses.replace(model, classes=names)
    return model
