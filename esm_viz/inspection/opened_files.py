"""Opening the files of a recipe: all headers are checked, and all files hashed, before work starts."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from esm_viz.checkpoints.checkpoint import Checkpoint, sha256_path
from esm_viz.checkpoints.lora_adapter import opened
from esm_viz.checkpoints.module_layout import ModuleLayout
from esm_viz.core.errors import CheckpointError, EsmVizError, HeadError, located
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import HeadWords, ModelEntry, Recipe
from esm_viz.core.records import FileFacts, Inspection, Split
from esm_viz.data.images.image_source import Classes, ImageSet, Preprocessing, open_images, preprocessing_of
from esm_viz.families.architecture import Architecture
from esm_viz.families.classification_head import Head, brings_classifier, read_head
from esm_viz.families.model_families import architecture_of
from esm_viz.families.zeroshot_head import head_from_words
from esm_viz.inspection.merge_cost_estimate import expected_cost

MOST_PROXIES = 32
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Headers:
    """The checkpoints, images and heads of a recipe, checked by headers; weights and images are not read yet.

    Attributes:
        experts: checkpoints by task, in the recipe's order.
        proxies: unlabelled image sets by task, if the recipe gives them.
        labelled: labelled image sets by split and task, if the recipe gives them.
        heads: heads by task, if the recipe gives them.
    """

    arch: Architecture
    base: Checkpoint
    experts: Mapping[str, Checkpoint]
    proxies: Mapping[str, ImageSet]
    labelled: Mapping[Split, Mapping[str, ImageSet]]
    heads: Mapping[str, Head]
    inspection: Inspection

    @property
    def left_out(self) -> tuple[str, ...]:
        """Return sentences on what is left out of each image set, also broken images so far, and on heads' names."""
        sets = (("proxies", self.proxies), *((f"{split} images", listed) for split, listed in self.labelled.items()))
        told = tuple(
            f"{task}, {what}: {told}"
            for what, by_task in sets
            for task, listed in by_task.items()
            for told in (*listed.notes, listed.told)
            if told
        )
        return (*told, *(f"{task}, {said}" for task, head in self.heads.items() for said in _twice(head.classes)))


@dataclass(frozen=True, slots=True)
class Beside:
    """The images and the head of one model.

    Attributes:
        proxies: the proxies; None if the recipe gives none or they are wrong.
        head: the head; None if the recipe gives none, it is wrong, or it was not to be made.
        classes: the classes of the head.
        labelled: labelled image sets by split.
        errors: errors in the order of reading.
        unscored: splits whose images are left out, since there is no head.
        named: names of the classes by which the head was made; empty if it has none.
    """

    proxies: ImageSet | None
    head: Head | None
    classes: Classes | None
    labelled: Mapping[Split, ImageSet]
    errors: tuple[EsmVizError, ...]
    unscored: tuple[Split, ...] = ()
    named: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences on what lies in the image sets' folders, or in the recipe, and is left out."""
        sets = [("proxies", self.proxies), *((f"{split} images", listed) for split, listed in self.labelled.items())]
        told = tuple(f"{what}: {told}" for what, listed in sets if listed is not None for told in listed.notes)
        left = tuple(f"{split} images: left out, without a head they cannot be scored" for split in self.unscored)
        return (*told, *left, *_twice(self.named))


def open_headers(recipe: Recipe) -> Headers:
    """Read headers and list images, and raise if a file does not fit.

    Raises:
        EsmVizError: the first error found, with the name of the model.
    """
    arch = architecture_of(recipe.arch, recipe.arch_config)
    base = Checkpoint("base", recipe.resolve(recipe.base), layouts=arch.layout_of)
    facts = [base.judge(arch.shapes)]
    experts = {
        model.name: opened(model.name, recipe.resolve(model.path), base, arch.layout_of) for model in recipe.models
    }
    facts += [expert.judge(arch.shapes) for expert in experts.values()]
    proxies: dict[str, ImageSet] = {}
    heads: dict[str, Head] = {}
    labelled: dict[Split, dict[str, ImageSet]] = {"validation": {}, "test": {}}
    text = functools.cache(base.text_tower)  # read once for all heads from words, and only if there is one
    for model in recipe.models:  # after all headers, which are fast to read
        beside = open_beside(model, recipe, arch, text)
        if beside.errors:
            raise beside.errors[0]
        if beside.proxies is not None:
            proxies[model.name] = beside.proxies
        if beside.head is not None:
            heads[model.name] = beside.head
        for split, images in beside.labelled.items():
            labelled[split][model.name] = images
    images_a_task = max((min(listed.count, MOST_PROXIES) for listed in proxies.values()), default=0)
    memory, seconds = expected_cost(arch, len(experts), images_a_task)
    notes = shared_notes({fact.dtype for fact in facts}, [model.path for model in recipe.models])
    notes += not_read_notes((base, *experts.values())) + from_base_notes(facts)
    inspection = Inspection(arch.title, arch.describe(), tuple(facts), arch.layers, memory, seconds, notes)
    return Headers(arch, base, experts, proxies, labelled, heads, inspection)


def open_beside(
    model: ModelEntry, recipe: Recipe, arch: Architecture, text: Callable[[], Mapping[str, Tensor]] | None
) -> Beside:
    """Open a model's proxies, head and labelled images, and collect errors instead of raising.

    Args:
        model: an entry of the recipe.
        recipe: the recipe, to resolve paths.
        arch: architecture of the tower.
        text: reads the base's text tower, by open_clip's names, for heads from words; None to make no such heads.
    """
    errors: list[EsmVizError] = []

    def attempt(work: Callable[[], T]) -> T | None:
        try:
            with located(f"model {model.name}"):
                return work()
        except EsmVizError as error:
            errors.append(error)
            return None

    how = preprocessing_of(recipe.arch, recipe.arch_config, arch.image_size)
    if not model.head and brings_classifier(recipe.resolve(model.path), arch.own_classifier):
        model = dataclasses.replace(model, head=model.path)
    proxies = attempt(lambda: open_images(recipe.resolve(model.proxies), how)) if model.proxies else None
    head, classes = None, None
    if isinstance(model.head, HeadWords) and text is None:
        classes = Classes(len(model.head.classes), model.head.classes)
    elif model.head:
        head = attempt(lambda: _open_head(model, recipe, arch, text))
        classes = Classes(len(head.weight), head.classes) if head is not None else None
    named: tuple[str, ...] = classes.names if classes is not None else ()
    if (rows := classes) is not None and model.classes:
        classes = attempt(lambda: _renamed(rows, model.classes))
    labelled: dict[Split, ImageSet] = {}
    for split, place in _labelled_places(model) if model.head else ():
        listed = attempt(lambda: _open_labelled(recipe.resolve(place), split, how, classes))  # noqa: B023 - at once
        if listed is not None:
            labelled[split] = listed
    unscored = () if model.head else tuple(split for split, _ in _labelled_places(model))
    return Beside(proxies, head, classes, labelled, tuple(errors), unscored, named)


def read_digests(recipe: Recipe, headers: Headers, progress: Progress = NO_PROGRESS) -> dict[str, str]:
    """Read every file that a merge depends on once: hash it, compare with the recipe, refuse NaN and Inf.

    Returns:
        SHA-256 by path as the recipe writes it.

    Raises:
        CheckpointError: a file has another SHA-256 than the recipe gives, or holds NaN or Inf; `wrong` has all errors.
    """
    names = tuple(headers.arch.shapes)
    steps = 1 + len(recipe.models)
    digests: dict[str, str] = {}
    wrong: dict[str, CheckpointError] = {}
    files = [("base", recipe.base, headers.base, recipe.base_sha256)]
    files += [(model.name, model.path, headers.experts[model.name], model.sha256) for model in recipe.models]
    for step, (name, path, checkpoint, expected) in enumerate(files):
        progress(step / steps, f"reading {name}")
        try:
            digests[path] = checkpoint.verify(names, expected)
        except CheckpointError as error:
            wrong[name] = error
    if wrong:
        first = next(iter(wrong.values()))
        first.wrong = wrong
        raise first
    for model in recipe.models:
        if model.proxies:
            digests[model.proxies] = sha256_path(recipe.resolve(model.proxies))
    progress(1.0, "files read")
    return digests


def _labelled_places(model: ModelEntry) -> list[tuple[Split, str]]:
    places: list[tuple[Split, str]] = [("validation", model.validation), ("test", model.test)]
    return [(split, place) for split, place in places if place]


def _open_head(
    model: ModelEntry, recipe: Recipe, arch: Architecture, text: Callable[[], Mapping[str, Tensor]] | None
) -> Head:
    if isinstance(model.head, HeadWords):
        weights = text() if text else {}
        if not weights:
            raise HeadError(
                "a head from words needs a base with a text tower", "give a full CLIP, or the head's weights"
            )
        return head_from_words(arch.config, weights, model.head.classes, model.head.templates)
    path = recipe.resolve(model.head)
    if not path.exists():
        raise HeadError("there is no such head", "check its path in the recipe", path.name)
    return read_head(path, arch.embed_dim, arch.own_classifier)


def _renamed(classes: Classes, names: tuple[str, ...]) -> Classes:
    """Return a head's classes with the names that the recipe gives for the images."""
    if len(names) != classes.rows:  # a name may be given twice, which images that need it once will refuse
        wrong = f"`classes` names {len(names)} classes for a head of {classes.rows} rows"
        raise HeadError(wrong, "name each row once")
    return Classes(classes.rows, names)


def _open_labelled(path: Path, split: Split, how: Preprocessing, classes: Classes | None) -> ImageSet:
    if classes is None:  # the head's own error is told first
        raise HeadError(f"{split} images cannot be scored without their head", "mend the head")
    images = open_images(path, how, classes)
    assert images.labels is not None  # open_images was asked for labels
    most = int(images.labels.max())
    if most >= classes.rows:
        raise HeadError(f"{split} labels go up to {most}, the head has {classes.rows} classes", "fix either")
    return images


def _twice(names: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence on the class names that several rows of a head have; none if each has a name of its own."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    same = {name: found for name, found in rows.items() if len(found) > 1}
    if not same:
        return ()
    name, found = next(iter(same.items()))
    more = f", and {len(same) - 1} more names too" if len(same) > 1 else ""
    places = f"{', '.join(map(str, found[:-1]))} and {found[-1]}"
    return (
        (
            f"head: the class {name!r} is rows {places}{more}; rows made from the same name are equal, and only "
            "the first of them is predicted; give each class a name of its own"
        ),
    )


def same_labelled(recipe: Recipe) -> tuple[str, ...]:
    """Return the tasks whose validation and test images are one path."""
    return tuple(
        model.name
        for model in recipe.models
        if model.validation
        and model.test
        and os.path.realpath(recipe.resolve(model.validation)) == os.path.realpath(recipe.resolve(model.test))
    )


def searched_on_test(tasks: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence on tasks whose test images are those that α is searched on; none without such tasks."""
    if not tasks:
        return ()
    named = ", ".join(tasks)
    return (
        (
            f"{named}: validation and test images are the same, so a search for α chooses it on the images that "
            "accuracy is measured on, which then looks better; give other validation images"
        ),
    )


def not_read_notes(checkpoints: Iterable[Checkpoint]) -> tuple[str, ...]:
    """Return a sentence for each model in whose folder other weights lie, which may be newer than those read."""
    listed = tuple(checkpoints)
    averages = tuple(
        f"{found.title}: the tensors under {found.layout.prefix or 'no prefix'} are read, the same ones under "
        f"{' and '.join(twin or 'no prefix' for twin in found.layout.twins)} are not."
        for found in listed
        if isinstance(found.layout, ModuleLayout) and found.layout.twins
    )
    return averages + tuple(
        f"{found.title}: {found.read_file} is read, {' and '.join(found.not_read)} beside it "
        f"{'are' if len(found.not_read) > 1 else 'is'} not, name the file itself to read that one."
        for found in listed
        if found.not_read
    )


def from_base_notes(files: Iterable[FileFacts]) -> tuple[str, ...]:
    """Return a sentence for each model that does not bring some parameters, which are the base's then."""
    return tuple(
        f"{facts.name}: {_listed(facts.from_base)} not in its file, so the base's {_is(facts.from_base)} used."
        for facts in files
        if facts.from_base
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{shown} {_is(names)}"


def _is(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 else "is"


def shared_notes(dtypes: set[str], paths: Sequence[str]) -> tuple[str, ...]:
    """Return remarks that concern all checkpoints together.

    Args:
        dtypes: types in which the checkpoints are stored.
        paths: paths of the experts.
    """
    notes = []
    half = sorted(dtype for dtype in dtypes if "16" in dtype)
    if half:
        notes.append(
            f"Checkpoints are stored in {', '.join(half)}: sums run in float64, but the stored weights stay rounded."
        )
    if len(dtypes) > 1:
        notes.append(f"Checkpoints are of different types: {', '.join(sorted(dtypes))}.")
    if len(set(paths)) < len(paths):
        notes.append("Two models share one file.")
    return tuple(notes)
