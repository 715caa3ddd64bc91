"""From a recipe's paths to opened files: every header judged, every file hashed and checked, before work starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from esm_viz.checkpoints.layouts import TOWER
from esm_viz.checkpoints.reading import Checkpoint, sha256_path
from esm_viz.cost import expected_cost
from esm_viz.data.images import Classes, ImageSet, open_images
from esm_viz.errors import HeadError, located
from esm_viz.models.heads import Head, read_head
from esm_viz.models.tower import Architecture
from esm_viz.models.words import head_from_words
from esm_viz.recipe import HeadWords, ModelEntry, Recipe
from esm_viz.types import Inspection, Report, Split, silent

MOST_PROXIES = 32


@dataclass(frozen=True, slots=True)
class Headers:
    """A recipe's checkpoints and images, listed and judged, not yet read.

    Attributes:
        experts: by task, in the recipe's order.
        proxies: by task, where the recipe gives them.
        labelled: by split, then task, where the recipe gives them.
        heads: by task, where the recipe gives them.
    """

    arch: Architecture
    base: Checkpoint
    experts: Mapping[str, Checkpoint]
    proxies: Mapping[str, ImageSet]
    labelled: Mapping[Split, Mapping[str, ImageSet]]
    heads: Mapping[str, Head]
    inspection: Inspection


def open_headers(recipe: Recipe) -> Headers:
    """Read what headers and folder listings tell, and refuse whatever does not fit.

    Raises:
        EsmVizError: the first thing that is wrong, with the model it belongs to.
    """
    arch = Architecture(recipe.arch, recipe.arch_config)
    base = Checkpoint("base", recipe.resolve(recipe.base))
    facts = [base.judge(arch.shapes)]
    experts = {model.name: Checkpoint(model.name, recipe.resolve(model.path)) for model in recipe.models}
    facts += [expert.judge(arch.shapes) for expert in experts.values()]
    proxies: dict[str, ImageSet] = {}
    heads: dict[str, Head] = {}
    labelled: dict[Split, dict[str, ImageSet]] = {"validation": {}, "test": {}}
    for model in recipe.models:  # after all headers: a head from words reads the base's text tower
        with located(f"model {model.name}"):
            if model.proxies:
                proxies[model.name] = open_images(recipe.resolve(model.proxies), arch.image_size)
            if model.head:
                heads[model.name] = _open_head(model, recipe, arch, base)
            _open_labelled(model, recipe, arch, heads.get(model.name), labelled)
    images = max((min(listed.count, MOST_PROXIES) for listed in proxies.values()), default=0)
    memory, seconds = expected_cost(arch.layers, arch.shapes, len(experts), images)
    notes = tuple(_notes(recipe, {fact.dtype for fact in facts}))
    inspection = Inspection(arch.title, arch.describe(), tuple(facts), arch.layers, memory, seconds, notes)
    return Headers(arch, base, experts, proxies, labelled, heads, inspection)


def read_digests(recipe: Recipe, headers: Headers, report: Report = silent) -> dict[str, str]:
    """Read every file that shapes the weights once: hash it, compare with the recipe, refuse NaN and Inf.

    Returns:
        SHA-256 by path as the recipe writes it.

    Raises:
        DigestMismatch: a file is not the one the recipe names.
        CheckpointError: a tensor holds NaN or Inf.
    """
    names = tuple(headers.arch.shapes)
    steps = 1 + len(recipe.models)
    report(0.0, "reading base")
    digests = {recipe.base: headers.base.verify(names, recipe.base_sha256)}
    for step, model in enumerate(recipe.models, start=1):
        report(step / steps, f"reading {model.name}")
        digests[model.path] = headers.experts[model.name].verify(names, model.sha256)
        if model.proxies:
            digests[model.proxies] = sha256_path(recipe.resolve(model.proxies))
    report(1.0, "files read")
    return digests


def _open_head(model: ModelEntry, recipe: Recipe, arch: Architecture, base: Checkpoint) -> Head:
    if isinstance(model.head, HeadWords):
        if base.layout == TOWER:
            raise HeadError(
                "a head from words needs a base with a text tower", "give a full CLIP, or the head's weights"
            )
        return head_from_words(arch.config, dict(base.everything()), model.head.classes, model.head.templates)
    path = recipe.resolve(model.head)
    if not path.is_file():
        raise HeadError("there is no such head", "check its path in the recipe", path.name)
    return read_head(path, arch.embed_dim)


def _open_labelled(
    model: ModelEntry,
    recipe: Recipe,
    arch: Architecture,
    head: Head | None,
    labelled: dict[Split, dict[str, ImageSet]],
) -> None:
    places: tuple[tuple[Split, str], ...] = (("validation", model.validation), ("test", model.test))
    for split, place in places:
        if not place:
            continue
        if head is None:
            raise HeadError(f"{split} images without a head cannot be scored", "give the model's head")
        images = open_images(recipe.resolve(place), arch.image_size, Classes(len(head.weight), head.classes))
        assert images.labels is not None  # open_images was asked for labels
        most = int(images.labels.max())
        if most >= len(head.weight):
            raise HeadError(f"{split} labels go up to {most}, the head has {len(head.weight)} classes", "fix either")
        labelled[split][model.name] = images


def _notes(recipe: Recipe, dtypes: set[str]) -> list[str]:
    notes = []
    half = sorted(dtype for dtype in dtypes if "16" in dtype)
    if half:
        notes.append(
            f"Checkpoints are stored in {', '.join(half)}: sums run in float64, but what rounding took is not there."
        )
    if len(dtypes) > 1:
        notes.append(f"Checkpoints are of different types: {', '.join(sorted(dtypes))}.")
    if len({model.path for model in recipe.models}) < len(recipe.models):
        notes.append("Two models share one file.")
    return notes
