"""The papers' 20 tasks in their order, what else people call them, and how data sets name their classes.

What a user must know of the order of a head's rows, which decides what label 0 means:
- Most count classes in the sorted order of their names, as torchvision's ImageFolder does.
- GTSRB, MNIST, SVHN and EMNIST (its split of digits) by number; Flowers102 by the numbers 1 to 102 of its folders;
  PCAM has 1 for tumours; FashionMNIST and KMNIST have orders of their own.
- FER2013 counts neutral faces last, while a folder of class folders sorts them before sad ones.
- EuroSAT's and FER2013's folders have other names than the words that are embedded. `AGAIN` knows these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from esm_viz.core.assets_folder import assets_folder
from esm_viz.data.images.image_source import by_name, folded

ASSET = assets_folder() / "papers" / "tasks.json"
SIZES = (8, 14, 20)
_VALIDATED = "val"  # task-vector repositories train on a part of each set, and call it CarsVal

# Other names of the same data set, written as `plain` has them.
_ALSO: Mapping[str, tuple[str, ...]] = {
    "Cars": ("stanfordcars", "cars196"),
    "RESISC45": ("resisc", "nwpuresisc45"),
    "EuroSAT": ("eurosatsplits",),
    "Flowers102": ("flowers", "flower102", "oxfordflowers", "oxfordflowers102"),
    "PCAM": ("patchcamelyon",),
    "FER2013": ("fer",),
    "OxfordIIITPet": ("pets", "oxfordpets", "oxfordpet", "oxfordiiitpets"),
    "FashionMNIST": ("fmnist",),
    "EMNIST": ("emnistdigits",),
    "RenderedSST2": ("sst2",),
}
# Other names that a data set's own folders or tables give all of its classes, in the order of the rows.
AGAIN: Mapping[str, tuple[str, ...]] = {
    "EuroSAT": (
        *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop"),
        *("Residential", "River", "SeaLake"),
    ),
    "FER2013": ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    "KMNIST": ("お", "き", "す", "つ", "な", "は", "ま", "や", "れ", "を"),
}


@dataclass(frozen=True, slots=True)
class PapersTask:
    """One task of the papers.

    Attributes:
        name: name in task-vector repositories.
        classes: class name of each row of a head.
        templates: sentences with `{}` in the place of the class name.
    """

    name: str
    classes: tuple[str, ...]
    templates: tuple[str, ...]

    def named(self, found: Sequence[str]) -> tuple[str, ...] | None:
        """Return what a set of images calls each row's class, by the names of its class folders or of its table.

        A row whose class the set does not have keeps its own word.

        Args:
            found: the set's names, each once.

        Returns:
            A name a row; None where some name found is no class of this task.
        """
        for known in (self.classes, AGAIN.get(self.name, ())):
            rows = by_name(found, known)
            if len(rows) == len(found):
                return self._filled(rows)
        if all(name.isdecimal() for name in found):
            return self._numbered(found)
        lettered = {name: name[2:] for name in found if name[1:2] == "_"}  # SUN397 sorts by first letter: a_abbey
        if len(lettered) == len(found):
            rows = by_name(list(lettered.values()), self.classes)
            if len(rows) == len(found):
                return self._filled({name: rows[bare] for name, bare in lettered.items()})
        return None

    def _numbered(self, found: Sequence[str]) -> tuple[str, ...] | None:
        """Return the names of rows that a set counts from 0, or from 1 where it has all of them."""
        rows = {name: int(name) for name in found}
        first = 1 if 0 not in rows.values() and len(found) == len(self.classes) else 0
        numbers = sorted(row - first for row in rows.values())
        if len(set(numbers)) < len(found) or numbers[-1] >= len(self.classes) or (first == 0 and numbers[0] != 0):
            return None
        return self._filled({name: row - first for name, row in rows.items()})

    def _filled(self, rows: Mapping[str, int]) -> tuple[str, ...]:
        names = list(self.classes)
        for name, row in rows.items():
            names[row] = name
        return tuple(names)


@cache
def papers_tasks() -> tuple[PapersTask, ...]:
    """Return all 20 tasks in the papers' order; the first 8 and the first 14 are their smaller settings."""
    asset = json.loads(ASSET.read_text(encoding="utf-8"))
    return tuple(PapersTask(task["name"], tuple(task["classes"]), tuple(task["templates"])) for task in asset["tasks"])


def task_named(name: str) -> PapersTask | None:
    """Return the task that people call so, however it is written: SUN397Val, stanford_cars; None where it is none."""
    bare = folded(name)
    return _by_name().get(bare) or _by_name().get(bare.removesuffix(_VALIDATED))


def size_of(names: Sequence[str]) -> int | None:
    """Return which of the papers' settings these tasks are, 8, 14 or 20; None where they are others."""
    tasks = {task.name if (task := task_named(name)) else name for name in names}
    if len(tasks) != len(names) or len(names) not in SIZES:
        return None
    return len(names) if tasks == {task.name for task in papers_tasks()[: len(names)]} else None


@cache
def _by_name() -> Mapping[str, PapersTask]:
    return {name: task for task in papers_tasks() for name in (folded(task.name), *_ALSO.get(task.name, ()))}
