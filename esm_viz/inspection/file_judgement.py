"""The verdict on every model of a recipe, from headers and lists of images alone, before any weights are read.

`opened_files.open_headers` makes the same checks but raises at the first error. Here each model gets a verdict, so a
person sees all errors at once and can leave the refused models out.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.checkpoints.lora_adapter import opened
from esm_viz.core.errors import (
    LORA,
    RUNS_CODE,
    CheckpointError,
    DigestMismatch,
    EsmVizError,
    HeadError,
    HubError,
    ImagesError,
    LayoutError,
    NotFinite,
    ShapeMismatch,
)
from esm_viz.core.recipe import ModelEntry, Recipe, parse_mapping
from esm_viz.core.records import FileFacts, JudgedModel, Judgement, OwnAccuracy, Verdict
from esm_viz.data.images.image_source import draw, open_images, preprocessing_of, to_png
from esm_viz.families import architecture_match
from esm_viz.families.architecture import Architecture, treatment_of
from esm_viz.families.model_families import architecture_of
from esm_viz.inspection.merge_cost_estimate import expected_cost, scoring_seconds
from esm_viz.inspection.opened_files import (
    MOST_PROXIES,
    Headers,
    from_base_notes,
    not_read_notes,
    open_beside,
    same_labelled,
    searched_on_test,
    shared_notes,
)
from esm_viz.merge import METHODS, settle
from esm_viz.runtime.container_limits import free_memory

_TASK_VECTOR = 0.3  # of the base's norms; fine-tuning moves normalisation weights, which start at 1, by a few per cent
NEAR_CHANCE = "Near chance. Another task’s head?"
NO_HEAD = "No head: it can be merged and measured by feature direction"
BASE = "the base"
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.")
_TEXT = ("token_embedding", "text_model.", "text_projection")
_WORDS = {
    LORA: "an adapter that does not fit",
    RUNS_CODE: "asks to run a program",
    NotFinite.kind: "holds NaN or Inf",
    DigestMismatch.kind: "not the recipe’s file",
    HeadError.kind: "its head does not fit",
    ImagesError.kind: "its images cannot be read",
    HubError.kind: "not downloaded",
    CheckpointError.kind: "not a file of weights",
}
"""Short descriptions of refused files by the kind of error; for layouts and shapes, `_refusal` makes them."""


def judge(
    recipe: Recipe,
    *,
    left_out: Collection[str] = (),
    wrong: Mapping[str, EsmVizError] | None = None,
    same: Mapping[str, str] | None = None,
    decomposing: bool = False,
    unread: Collection[str] = (),
) -> Judgement:
    """Return a verdict on every model of a recipe, from headers and lists of images alone.

    Args:
        recipe: the recipe.
        left_out: tasks that are not counted in the cost.
        wrong: errors found when the whole files were read, by model.
        same: the result of `same_weights`, if known: the model whose weights a task shares.
        decomposing: whether all experts will be decomposed, which needs proxies with any method.
        unread: names on a hub that are not downloaded: of their models only headers are there, of their images nothing.

    Raises:
        RecipeError: its method, parameters or architecture are wrong, so that nothing can be judged.
    """
    wrong = wrong or {}
    settle(without(recipe, [model.name for model in recipe.models if not model.proxies]))  # judged below
    arch = architecture_of(recipe.arch, recipe.arch_config)
    base, facts, error = _header("base", recipe.resolve(recipe.base), arch)
    has_numbers = base is not None and error is None and recipe.base not in unread
    sizes = _norm_sizes(base, arch) if base is not None and has_numbers else {}
    models = [JudgedModel(facts, _verdict_of_base(facts, wrong.get("base") or error, says_activation(recipe)))]
    needs_proxies = decomposing or METHODS[recipe.method].needs != "delta"
    alike = _alike(recipe, same or {})
    files = [base]
    notes: list[str] = []
    for model in recipe.models:
        checkpoint, facts, error = _header(model.name, recipe.resolve(model.path), arch, base)
        files.append(checkpoint)
        beside = open_beside(_without_images(model, unread), recipe, arch, text=None)
        errors = [wrong.get(model.name), error, *beside.errors]
        notes += [f"{model.name}, {note}" for note in beside.notes]
        proxies = beside.proxies.count if beside.proxies is not None else 0
        known = JudgedModel(
            facts,
            Verdict("ready", ""),
            beside.classes.rows if beside.classes else 0,
            beside.classes.names if beside.classes else (),
            proxies,
            min(proxies, MOST_PROXIES),
            *(beside.labelled[split].count if split in beside.labelled else 0 for split in ("validation", "test")),
        )
        has_numbers = checkpoint is not None and error is None and bool(sizes) and model.path not in unread
        change = _change(checkpoint, arch, sizes) if checkpoint is not None and has_numbers else None
        doubt = alike.get(model.name) or change
        remote = model.proxies in unread
        verdict = _verdict(known, [each for each in errors if each], doubt, needs_proxies and not remote)
        models.append(dataclasses.replace(known, verdict=verdict))
    whole = _judgement(recipe, arch, models, left_out)
    not_read = not_read_notes(found for found in files if found is not None)
    lent = from_base_notes(model.facts for model in models)
    searched = searched_on_test(same_labelled(recipe)) if recipe.parameters.get("alpha") == "search" else ()
    return dataclasses.replace(whole, notes=(*whole.notes, *not_read, *lent, *notes, *searched))


def _without_images(model: ModelEntry, unread: Collection[str]) -> ModelEntry:
    """Return a model without the images that are not downloaded."""

    def kept(place: str) -> str:
        return "" if place in unread else place

    return dataclasses.replace(
        model, proxies=kept(model.proxies), validation=kept(model.validation), test=kept(model.test)
    )


def judged(recipe: Recipe, headers: Headers, same: Mapping[str, str]) -> Judgement:
    """Return the judgement of a project that is already open; none of its models is refused.

    Args:
        recipe: the project's recipe.
        headers: the headers of its files.
        same: the result of `same_weights`: the model whose weights a task shares.
    """
    models = [JudgedModel(headers.inspection.files[0], _verdict_of_base(headers.inspection.files[0], None, True))]
    alike = _alike(recipe, same)
    for facts in headers.inspection.files[1:]:
        head = headers.heads.get(facts.name)
        counts = [
            listed[facts.name].usable if facts.name in listed else 0
            for listed in (headers.proxies, headers.labelled["validation"], headers.labelled["test"])
        ]
        model = JudgedModel(
            facts,
            Verdict("ready", ""),
            len(head.weight) if head else 0,
            head.classes if head else (),
            counts[0],
            min(counts[0], MOST_PROXIES),
            *counts[1:],
        )
        models.append(dataclasses.replace(model, verdict=_verdict(model, (), alike.get(facts.name), False)))
    whole = _judgement(recipe, headers.arch, models, ())
    not_read = not_read_notes((headers.base, *headers.experts.values()))
    lent = from_base_notes(headers.inspection.files)
    return dataclasses.replace(whole, activation_said=True, notes=(*whole.notes, *not_read, *lent, *headers.left_out))


def measured(judgement: Judgement, own: Iterable[OwnAccuracy]) -> Judgement:
    """Return the judgement with remarks on broken validation images and on experts with an accuracy near chance."""
    by_task = {accuracy.task: accuracy for accuracy in own}

    def flagged(model: JudgedModel) -> JudgedModel:
        if model.name not in by_task or model.verdict.stance == "refused":
            return model
        accuracy = by_task[model.name]
        if accuracy.left_out:
            verdict = Verdict(model.verdict.stance, f"{model.verdict.words}, some images broken", accuracy.left_out)
            model = dataclasses.replace(model, verdict=verdict, validation=accuracy.score.n)
        if not accuracy.near_chance:
            return model
        sentence = accuracy.near_chance_sentence("validation")
        return dataclasses.replace(model, verdict=Verdict("check", NEAR_CHANCE, sentence))

    return dataclasses.replace(judgement, models=(judgement.base, *map(flagged, judgement.experts)))


def without(recipe: Recipe, names: Collection[str]) -> Recipe:
    """Return the recipe without some of its models."""
    return recipe.replace(models=tuple(model for model in recipe.models if model.name not in names))


def thumbnails(recipe: Recipe, judgement: Judgement, most: int) -> dict[str, list[bytes]]:
    """Return PNG files of the first proxies of every task that has some; a merge uses the same images."""
    arch = architecture_of(recipe.arch, recipe.arch_config)
    how = preprocessing_of(recipe.arch, recipe.arch_config, arch.image_size)
    found = {}
    for model, known in zip(recipe.models, judgement.experts, strict=True):
        if known.proxies:
            try:
                listed = open_images(recipe.resolve(model.proxies), how)
                first = listed.read(draw(listed.count, MOST_PROXIES, recipe.seed)[:most])
                found[model.name] = to_png(first.images, how)
            except ImagesError:  # the merge will report it; here only the picture is missing
                continue
    return found


def says_activation(recipe: Recipe) -> bool:
    """Say whether the recipe gives the activation, by an open_clip name or in a config."""
    config = recipe.arch_config
    if config is None or architecture_match.ACTIVATION in config or "library" in config:
        return True
    vision = config["vision_cfg"]  # other towers of open_clip do not read it
    return bool(vision.get("timm_model_name")) or isinstance(vision.get("layers"), list)


def with_activation(recipe: Recipe, quick_gelu: bool) -> Recipe:
    """Return the recipe with the given activation."""
    config = architecture_of(recipe.arch, recipe.arch_config).config
    return _with_arch(recipe, architecture_match.confirmed(config, quick_gelu))


def fitting_names(path: Path) -> tuple[str, ...]:
    """Return the names of open_clip models that a base's shapes fit; the activation cannot be found from shapes.

    Raises:
        CheckpointError: the file cannot be read.
    """
    return architecture_match.fitting(Checkpoint("base", path).tower_shapes())


def choices(recipe: Recipe) -> dict[str, Recipe]:
    """Return the recipe with each open_clip architecture that the base fits, by name; empty if the recipe gives one.

    Args:
        recipe: a recipe whose architecture may have been found from shapes alone.
    """
    if says_activation(recipe):
        return {}
    try:
        names = fitting_names(recipe.resolve(recipe.base))
    except CheckpointError:  # the base will be refused
        return {}
    return {name: _with_arch(recipe, config_of(name)) for name in names}


def config_of(name: str) -> dict[str, Any]:
    """Return the open_clip config of a name, without the activation, which is not confirmed yet."""
    return architecture_match.unconfirmed(name)


def arch_lines(names: Sequence[str]) -> str:
    """Return the lines of a recipe that give one of these open_clip models, with either activation."""
    lines = []
    for name in names:
        found = [architecture_match.confirmed(config_of(name), quick) for quick in (False, True)]
        lines += [
            f"`arch: {known}`{' for QuickGELU' if quick else ''}"
            for quick, known in enumerate(found)
            if isinstance(known, str)
        ]
    return " or ".join(lines)


def _with_arch(recipe: Recipe, arch: str | dict[str, Any]) -> Recipe:
    changed = parse_mapping({**recipe.as_mapping(), "arch": arch}, recipe.folder)
    return changed.replace(downloaded=recipe.downloaded)


def _header(
    title: str, path: Path, arch: Architecture, start: Checkpoint | None = None
) -> tuple[Checkpoint | None, FileFacts, EsmVizError | None]:
    """Return a file's checkpoint, the facts from its header, and its error; None where there is none."""
    try:
        checkpoint = opened(title, path, start, arch.layout_of)
    except CheckpointError as error:
        size = path.stat().st_size if path.is_file() else 0
        return None, FileFacts(title, path.name, "unknown", "", 0, size, 0, tuple(arch.shapes), ()), error
    return checkpoint, checkpoint.facts(arch.shapes), checkpoint.complaint(arch.shapes)


def _verdict_of_base(facts: FileFacts, error: EsmVizError | None, said: bool) -> Verdict:
    if error is not None:
        return _refusal(facts, error)
    if not said:
        sentence = "weights do not tell which activation they were trained with, say QuickGELU or GELU"
        return Verdict("check", "Confirm the activation", sentence)
    return Verdict("ready", "Ready, start of all experts", _remark(facts))


def _verdict(model: JudgedModel, errors: Sequence[EsmVizError], alike: Verdict | None, needs_proxies: bool) -> Verdict:
    if errors:
        return _refusal(model.facts, errors[0])
    if needs_proxies and not model.proxies:
        sentence = f"{model.name} has no proxy images, give up to {MOST_PROXIES} unlabelled ones"
        return Verdict("refused", "Refused: no proxy images", sentence)
    if alike is not None:
        return alike
    few = f", with {model.used} of {MOST_PROXIES} proxy images" if 0 < model.used < MOST_PROXIES else ""
    words = f"Ready{few}" if model.classes else NO_HEAD
    return Verdict("ready", words, _remark(model.facts))


def _remark(facts: FileFacts) -> str:
    """Return a remark on an unusual but usable file; empty without one."""
    remarks = []
    if ", " in facts.dtype:
        remarks.append(f"its tensors are {facts.dtype} mixed, which is fine: sums run in float64")
    if any(mark in name for name in facts.extra for mark in _TEXT):
        remarks.append("its text tower takes no part in the merge, which is fine")
    return f"{facts.name}: {'; '.join(remarks)}" if remarks else ""


def _refusal(facts: FileFacts, error: EsmVizError) -> Verdict:
    if error.kind == LayoutError.kind and not facts.matched:
        words = "another kind of model"
    elif error.kind == LayoutError.kind and facts.missing:
        blocks = {match[1] if (match := _BLOCK.match(name)) else "" for name in facts.missing}
        where = f"block {int(only) + 1} " if len(blocks) == 1 and (only := next(iter(blocks))) else ""
        words = f"{where}lacks {_counted(facts.missing, 'key')}"
    elif error.kind == LayoutError.kind:
        words = "has keys of another layout"
    elif error.kind == ShapeMismatch.kind and facts.misshaped == ("positional_embedding",):
        words = "reads images of another size"
    elif error.kind == ShapeMismatch.kind:
        words = f"{_counted(facts.misshaped, 'shape')} of another tower"
    else:
        words = _WORDS[error.kind]
    return Verdict("refused", f"Refused: {words}", str(error))


def _counted(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''}"


def same_weights(recipe: Recipe, headers: Headers, digests: Mapping[str, str]) -> dict[str, str]:
    """Return, for each task with the same weights as the base or an earlier task, the name of that model.

    Equal files are found by their digests. A file with the base's weights in another format is found by comparing
    tensors until one differs, which for an expert is soon.

    Args:
        recipe: the project's recipe.
        headers: the headers of its files.
        digests: SHA-256 by path as the recipe writes it.

    Raises:
        CheckpointError: a file changed since it was opened.
    """
    seen, found = {digests[recipe.base]: BASE}, {}
    for model in recipe.models:
        digest = digests[model.path]
        if digest in seen:
            found[model.name] = seen[digest]
        elif _same_numbers(headers.arch, headers.base, headers.experts[model.name]):
            found[model.name] = BASE
        seen.setdefault(digest, model.name)
    return found


def _same_numbers(arch: Architecture, one: Checkpoint, other: Checkpoint) -> bool:
    parts = (arch.stem_names, *map(arch.block_names, range(arch.blocks)))
    return all(
        torch.equal(tensor, theirs[name])
        for part in parts
        for mine, theirs in [(one.tensors(part, torch.float64), other.tensors(part, torch.float64))]
        for name, tensor in mine.items()
    )


def _norm_sizes(checkpoint: Checkpoint, arch: Architecture) -> dict[str, float]:
    """Return the Frobenius norms of a tower's normalisation weights, which are small to read; empty if unreadable."""
    names = [name for name in arch.shapes if re.search(r"ln_\w+\.weight$", name)]
    try:
        return {name: float(tensor.norm()) for name, tensor in checkpoint.tensors(names, torch.float64).items()}
    except CheckpointError:  # reading the whole files reports it
        return {}


def _change(checkpoint: Checkpoint, arch: Architecture, base: Mapping[str, float]) -> Verdict | None:
    """Return the verdict on a file whose normalisation weights are far below the base's, as in a task vector."""
    own = _norm_sizes(checkpoint, arch)
    if not own or not base or any(own[name] > _TASK_VECTOR * base[name] for name in base):
        return None
    ratio = max(own[name] / base[name] for name in base if base[name]) if any(base.values()) else 0.0
    sentence = (
        f"{checkpoint.title}: its normalisation weights are at most {100 * ratio:.2g} % of the base's, as in a task "
        "vector (the model minus the base), give the fine-tuned model itself"
    )
    return Verdict("check", "A task vector, not a model?", sentence)


def _alike(recipe: Recipe, same: Mapping[str, str]) -> dict[str, Verdict]:
    """Return the verdict on each task whose file or weights equal those of the base or an earlier task."""
    found = {}
    for what, twins in (("weights", same), ("file", _twins(recipe))):
        for name, twin in twins.items():
            means = "it adds no change of its own" if twin == BASE else "that change counts twice"
            sentence = f"{name} has the {what} of {twin}, so {means}, give it its own weights or leave it out"
            found[name] = Verdict("check", f"Same {what} as {twin}", sentence)
    return found


def _twins(recipe: Recipe) -> dict[str, str]:
    """Return, for each task that shares its file with the base or an earlier task, the name of that model."""
    seen = {os.path.realpath(recipe.resolve(recipe.base)): BASE}  # Path.resolve raises for links in a loop
    found = {}
    for model in recipe.models:
        path = os.path.realpath(recipe.resolve(model.path))
        if path in seen:
            found[model.name] = seen[path]
        seen.setdefault(path, model.name)
    return found


def _judgement(
    recipe: Recipe, arch: Architecture, models: Sequence[JudgedModel], left_out: Collection[str]
) -> Judgement:
    used = [model for model in models[1:] if model.verdict.stance != "refused" and model.name not in left_out]
    memory, seconds = expected_cost(arch, len(used), max((model.used for model in used), default=0))
    return Judgement(
        arch=arch.title,
        activation=arch.describe(),
        activation_said=says_activation(recipe),
        models=tuple(models),
        layers=arch.layers,
        memory_bytes=memory,
        seconds=seconds,
        gate_seconds=scoring_seconds(arch, sum(model.validation for model in used)),
        free_bytes=free_memory(),
        preprocessing=preprocessing_of(recipe.arch, recipe.arch_config, arch.image_size).words,
        notes=shared_notes({model.facts.dtype for model in models if model.facts.dtype}, _paths(recipe.models)),
        treatment=treatment_of(arch),
    )


def _paths(models: Sequence[ModelEntry]) -> list[str]:
    return [model.path for model in models]
