"""The verified export: files are written to a temporary folder, read again, hashed, evaluated, and then moved."""

from __future__ import annotations

import dataclasses
import json
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from esm_viz.checkpoints.adapter_file import adapters_metadata, named_tensors, read_adapters
from esm_viz.checkpoints.atomic_write import sha256_tensors, write_tensors, write_text
from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.checkpoints.layout_table import Layout
from esm_viz.checkpoints.model_config import CONFIG, OPEN_CLIP_CONFIG, PROCESSORS
from esm_viz.checkpoints.tensor_storage import sha256_file, sha256_text
from esm_viz.core import recipe as recipes
from esm_viz.core.errors import EsmVizError, ExportError, ProofFailed
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import (
    Evaluation,
    ExpertAgreement,
    ExportProof,
    Objective,
    ProofRow,
    Score,
    Split,
    WrittenFile,
)
from esm_viz.export.model_card import model_card
from esm_viz.families.architecture import Architecture
from esm_viz.families.classification_head import Head
from esm_viz.families.model_families import architecture_of
from esm_viz.families.prototype_routing import Adapters
from esm_viz.families.routed_tower import load_routed
from esm_viz.inspection.opened_files import Headers
from esm_viz.merge import settle
from esm_viz.runtime.device import conditions
from esm_viz.version import __version__

WEIGHTS, ADAPTERS, RECIPE, CARD = "model.safetensors", "experts.safetensors", "recipe.yaml", "README.md"
PAGE = "report.html"
# Files of an export: a config only if its layout needs one, adapters only if the method has some, the page only if it
# was requested.
FILES = (WEIGHTS, CONFIG, OPEN_CLIP_CONFIG, *PROCESSORS, ADAPTERS, RECIPE, CARD, PAGE)
HEADS = "heads"  # folder of the classifiers that fine-tunes brought; each belongs to one task, not to the merge
HEAD_MARK = "esm_viz.version"  # in the metadata of such a classifier: other heads in that folder are the user's own
ASIDE = ".????????.part"  # a folder of an export that is being written
PLACING = "placing"  # file in it with the names of its files, written after all checks
Rescore = Callable[[nn.Module, Split, Progress], tuple[Score, ...]]
MakePage = Callable[[ExportProof, Recipe], str]
"""(proof, recipe as written) -> HTML text of `PAGE`."""


@dataclass(frozen=True)
class Preview:
    """The merge on screen that is to be exported.

    Attributes:
        recipe: with every parameter and α as numbers.
        headers: the opened files.
        digests: SHA-256 by path as the recipe writes it.
        weights: the merged tower, in the recipe's dtype.
        shown: its accuracy, once for every split with labelled images.
        adapters: of a routed model, by layer; empty for one set of weights.
        layout: of the file that is to be written.
        agreement: with the experts on proxies; None without proxies.
        search_on: what α was chosen by, if it was searched for this export.
    """

    recipe: Recipe
    headers: Headers
    digests: Mapping[str, str]
    weights: Mapping[str, Tensor]
    shown: tuple[Evaluation, ...]
    adapters: Mapping[str, Adapters]
    layout: Layout
    agreement: ExpertAgreement | None = None
    search_on: Objective | None = None

    @property
    def identity(self) -> str:
        """Return the recipe's canonical JSON."""
        return recipes.canonical(self.recipe, self.digests)

    @property
    def sha256(self) -> str:
        """Return the recipe's hash."""
        return recipes.sha256_text(self.identity)

    @cached_property
    def tensors_sha256(self) -> str:
        """Return the hash of the tower's tensors."""
        return sha256_tensors(self.weights)

    @cached_property
    def configs(self) -> dict[str, dict[str, Any]]:
        """Return the configs that belong beside the weights, by name of the file."""
        return self.headers.base.files_beside(self.layout, self.headers.arch.config)

    @property
    def says_architecture(self) -> bool:
        """Say whether a config beside the weights tells the architecture."""
        return bool(self.configs.keys() & {CONFIG, OPEN_CLIP_CONFIG})

    @property
    def classifiers(self) -> dict[str, Head]:
        """Return the heads that are classifiers of the fine-tunes' own files, by task."""
        own = self.headers.arch.own_classifier
        brought = {model.name for model in self.recipe.models if model.head in ("", model.path)}
        heads = self.headers.heads.items()
        return {task: head for task, head in heads if own and not head.normalised and task in brought}

    @cached_property
    def conditions(self) -> str:
        """Return the conditions under which the weights were made."""
        return conditions(next(iter(self.weights.values())).device.type)

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the exported tensors."""
        return next(iter(self.weights.values())).dtype

    @cached_property
    def beside(self) -> dict[str, Tensor]:
        """Return the file's tensors besides the tower: the base's text tower, if its layout is kept."""
        base = self.headers.base
        if self.layout != base.layout:
            return {}
        return {
            name: tensor.to(self.dtype) if tensor.is_floating_point() else tensor
            for name, tensor in base.everything()
            if base.layout.beside(name)
        }

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the weights file, with the names of its layout."""
        return self.layout.written({name: tensor.cpu() for name, tensor in self.weights.items()}) | self.beside


def export(
    preview: Preview,
    rescore: Rescore,
    folder: Path,
    *,
    portable: bool,
    page: MakePage | None = None,
    progress: Progress = NO_PROGRESS,
) -> ExportProof:
    """Write a merge into a folder and prove it equal to the preview.

    Args:
        preview: what is on screen.
        rescore: scores a tower that was rebuilt from the files, without cached predictions.
        folder: target folder; made if missing.
        portable: whether to keep the recipe's own relative paths instead of paths from `folder`.
        page: returns the HTML report; None for no report.
        progress: callback, may raise Cancelled.

    Raises:
        ProofFailed: the file is not what was on screen; nothing is left behind.
        ExportError: it cannot be written; nothing is left behind.
    """
    start = time.perf_counter()
    written = _written_recipe(preview, folder, portable)
    for task in preview.classifiers:
        name = f"{HEADS}/{task}.safetensors"
        if (folder / name).exists() and not _is_marked(folder / name, HEAD_MARK):
            raise ExportError(f"{name} is there already and is no export's", "choose another folder", folder.name)
    with _staging(folder) as aside:
        progress(0.0, "writing")
        write_tensors(aside / WEIGHTS, preview.tensors, _metadata(preview))
        digest = sha256_file(aside / WEIGHTS)
        for name, config in preview.configs.items():
            write_text(aside / name, json.dumps(config, indent=2))
        for task, head in preview.classifiers.items():
            _write_head(aside / HEADS, task, head)
        if preview.adapters:
            write_tensors(aside / ADAPTERS, named_tensors(preview.adapters), _adapters_metadata(preview))
        write_text(aside / RECIPE, written.to_yaml())
        write_text(aside / CARD, _card(preview))
        progress(0.1, "reading again")
        rows = _compare(preview, written, aside, rescore, progress.part(0.1, 0.9))
        rows.insert(1, ProofRow("weights file, SHA-256", digest, sha256_file(aside / WEIGHTS)))
        wrong = [row.what for row in rows if not row.equal]
        if wrong:
            failed = ProofFailed(f"the file differs from the preview in {', '.join(wrong)}", "export again")
            failed.rows = tuple(rows)
            raise failed
        proof = ExportProof(
            folder=str(folder),
            written=tuple(_written(aside, name) for name in _names(aside) if (aside / name).is_file()),
            recipe_sha256=preview.sha256,
            tensors_sha256=preview.tensors_sha256,
            layout=preview.layout.name,
            layout_title=preview.layout.title,
            rows=tuple(rows),
            seconds=time.perf_counter() - start,
            conditions=preview.conditions,
            agreement=preview.agreement,
            search_on=preview.search_on,
        )
        if page is not None:
            write_text(aside / PAGE, page(proof, written))
            proof = dataclasses.replace(proof, written=(*proof.written, _written(aside, PAGE)))
        progress(0.95, "putting in place")
        _put_in_place(aside, folder)
    progress(1.0, "exported")
    return proof


def finish_interrupted(folder: Path) -> None:
    """Finish or delete what killed exports have left in a folder.

    An export that was killed while it moved its files had checked them before, so the rest is moved now. The files of
    all others are deleted. Of two exports to one folder at the same time, the later one stops the earlier.

    Raises:
        ExportError: the folder cannot be written.
    """
    try:
        for aside in folder.glob(ASIDE) if folder.is_dir() else ():
            listed = aside / PLACING
            names = listed.read_text(encoding="utf-8").split("\n") if listed.is_file() else []
            for name in _names(aside, folder) if names else ():
                if (aside / name).is_file():
                    (folder / name).parent.mkdir(exist_ok=True)
                    (aside / name).replace(folder / name)
                elif name not in names:
                    (folder / name).unlink(missing_ok=True)  # of the export before
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise _unwritable(error, folder) from error


def refuse_overwriting(recipe: Recipe, folder: Path) -> None:
    """Refuse a folder where the export would replace its own inputs, or files that are not from an export.

    Raises:
        ExportError: a file of the recipe, the recipe itself or another file of the user would be lost.
    """
    if not folder.is_dir():
        return
    mine = {recipe.resolve(path).resolve() for path in (recipe.base, *(model.path for model in recipe.models))}
    for name in FILES:
        target = folder / name
        if mine & {target.resolve(), folder.resolve()} or (target.exists() and not _is_export(folder)):
            raise ExportError(f"{name} is there already and is no export", "choose another folder", folder.name)
    if folder.resolve() == recipe.folder.resolve() and (folder / RECIPE).exists():
        raise ExportError("the export would replace its own recipe", "choose another folder", folder.name)


def _is_export(folder: Path) -> bool:
    return _is_marked(folder / WEIGHTS, "esm_viz.recipe")


def _is_marked(path: Path, key: str) -> bool:
    """Say whether a file's metadata have a key that only exports write."""
    try:
        return key in Checkpoint("export", path).metadata
    except EsmVizError:
        return False


def _compare(preview: Preview, written: Recipe, aside: Path, rescore: Rescore, progress: Progress) -> list[ProofRow]:
    """Read all files back and compare them with what was on screen, one row per check."""
    again = Checkpoint("export", aside / WEIGHTS, layouts=preview.headers.arch.layout_of)
    said = again.config() if preview.says_architecture else None
    arch = preview.headers.arch if said is None else architecture_of("", said)  # what is written must say it all
    facts = again.judge(arch.shapes)
    tensors = again.tensors(preview.weights, preview.dtype)
    reread = settle(recipes.parse_text((aside / RECIPE).read_text(encoding="utf-8"), written.folder, RECIPE))
    identity = recipes.canonical(reread, _digests_named_by(reread, preview))
    rows = [
        ProofRow("tensors, SHA-256", preview.tensors_sha256, sha256_tensors(tensors)),
        *_compare_beside(preview, again, facts.extra),
        ProofRow("number of tensors", str(len(preview.tensors)), str(len(again.names))),
        ProofRow("type of numbers", preview.recipe.dtype, facts.dtype),
        ProofRow("layout", preview.layout.title, facts.layout),
        *_compare_config(preview, arch),
        ProofRow("recipe, SHA-256", preview.sha256, recipes.sha256_text(identity)),
        ProofRow("recipe in the weights", preview.identity, again.metadata.get("esm_viz.recipe", "")),
        *_compare_adapters(preview, aside),
    ]
    rebuilt = (
        load_routed(arch, aside / WEIGHTS, aside / ADAPTERS)
        if preview.adapters
        else arch.tower({name: tensor.float() for name, tensor in tensors.items()})
    )
    for at, shown in enumerate(preview.shown):
        inside = progress.part(at / len(preview.shown), (at + 1) / len(preview.shown))
        rows += _compare_scores(shown, rescore(rebuilt, shown.split, inside))
    return rows


def _compare_config(preview: Preview, again: Architecture) -> list[ProofRow]:
    """Compare the architecture with that of the written config, if there is one."""
    if not preview.says_architecture:
        return []
    sides = (
        f"{arch.blocks} blocks, {arch.image_size} pixels, {arch.describe()}, {sha256_text(str(arch.shapes))[:12]}"
        for arch in (preview.headers.arch, again)
    )
    return [ProofRow("architecture in the config", *sides)]


def _compare_beside(preview: Preview, again: Checkpoint, names: tuple[str, ...]) -> list[ProofRow]:
    """Compare tensors copied from the base file with those read back, if there are any."""
    if not preview.beside and not names:
        return []
    found = {name: tensor for name, tensor in again.everything() if name in names}
    return [ProofRow("copied tensors, SHA-256", sha256_tensors(preview.beside), sha256_tensors(found))]


def _compare_scores(shown: Evaluation, scores: tuple[Score, ...]) -> list[ProofRow]:
    """Compare the accuracy on one split on screen with that of the model rebuilt from the file."""
    before = [task.merged for task in shown.tasks]
    means = (f"{100 * sum(score.accuracy for score in side) / len(side):.2f} %" for side in (before, scores))
    return [
        ProofRow(f"mean of {len(before)} tasks, {shown.split}", *means),
        *(
            ProofRow(f"{task.task}, {task.merged.n} {shown.split} images", _right(task.merged), _right(after))
            for task, after in zip(shown.tasks, scores, strict=True)
        ),
    ]


def _compare_adapters(preview: Preview, aside: Path) -> list[ProofRow]:
    """Compare the adapters with those read back, if there are any."""
    if not preview.adapters:
        return []
    again = read_adapters(
        aside / ADAPTERS, {layer.name: (layer.d_out, layer.d_in) for layer in preview.headers.arch.layers}
    )
    sides = (sha256_tensors(named_tensors(layers)) for layers in (preview.adapters, again.layers))
    return [
        ProofRow("adapters, SHA-256", *sides),
        ProofRow("recipe in the adapters", preview.sha256, again.recipe_sha256),
    ]


def _digests_named_by(reread: Recipe, preview: Preview) -> dict[str, str]:
    """Return the digests that a recipe read back names itself, proxies (which it cannot name) as opened."""
    digests = {reread.base: reread.base_sha256}
    for mine, model in zip(preview.recipe.models, reread.models, strict=True):
        digests[model.path] = model.sha256
        if model.proxies:
            digests[model.proxies] = preview.digests[mine.proxies]
    return digests


def _right(score: Score) -> str:
    return f"{score.correct} of {score.n} right"


def _written_recipe(preview: Preview, folder: Path, portable: bool) -> Recipe:
    """Return the recipe of the export: with the digest of every file, and paths that work from its folder."""
    recipe, digests = preview.recipe, preview.digests

    def place(path: str, of: str) -> str:
        return f"{of}/{Path(path).name}" if Path(path).is_absolute() else path  # a name on a hub is not

    moved = recipe.placed(place).replace(folder=folder) if portable else recipe.seen_from(folder)
    models = tuple(
        dataclasses.replace(model, sha256=digests[mine.path])
        for mine, model in zip(recipe.models, moved.models, strict=True)
    )
    return moved.replace(base_sha256=digests[recipe.base], models=models)


def _written(folder: Path, name: str) -> WrittenFile:
    return WrittenFile(name, (folder / name).stat().st_size, sha256_file(folder / name))


def _write_head(folder: Path, task: str, head: Head) -> None:
    """Write a task's classifier as `read_head` reads it."""
    folder.mkdir(exist_ok=True)
    bias = {"bias": head.bias} if head.bias is not None else {}
    words = {"format": "pt", "normalize": "false", HEAD_MARK: __version__}
    classes = {"classes": json.dumps(head.classes, ensure_ascii=False)} if head.classes else {}
    write_tensors(folder / f"{task}.safetensors", {"weight": head.weight, **bias}, {**words, **classes})


def _names(*folders: Path) -> tuple[str, ...]:
    """Return the names that files of an export can have: `FILES`, and the heads in some folders that exports wrote."""
    found = [path for folder in folders for path in (folder / HEADS).glob("*.safetensors")]
    return (*FILES, *sorted({f"{HEADS}/{path.name}" for path in found if _is_marked(path, HEAD_MARK)}))


def _card(preview: Preview) -> str:
    return model_card(
        preview.recipe,
        preview.digests,
        preview.sha256,
        preview.headers.inspection,
        preview.shown,
        preview.layout,
        preview.headers.arch.config,
        preview.conditions,
        preview.agreement,
        preview.search_on,
        whole=any(not name.startswith(preview.layout.prefix) for name in preview.beside),  # not counters of the tower
    )


def _metadata(preview: Preview) -> dict[str, str]:
    recipe = preview.recipe
    models = [{"name": "base", "sha256": preview.digests[recipe.base]}]
    models += [{"name": model.name, "sha256": preview.digests[model.path]} for model in recipe.models]
    return {
        "format": "pt",
        "esm_viz.version": __version__,
        "esm_viz.recipe": preview.identity,
        "esm_viz.recipe_sha256": preview.sha256,
        "esm_viz.tensors_sha256": preview.tensors_sha256,
        "esm_viz.models": json.dumps(models, ensure_ascii=False),
    }


def _adapters_metadata(preview: Preview) -> dict[str, str]:
    """Return the weights' metadata, but of the adapters' own tensors, and with what they are good for."""
    own = adapters_metadata(preview.adapters, preview.recipe.tasks, preview.tensors_sha256)
    return {**_metadata(preview), **own}


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Yield an empty folder inside the target, so that files can be moved by renaming.

    Afterwards it is deleted, and so are new folders that stayed empty.

    Raises:
        ExportError: neither can be made or written.
    """
    aside = folder / ASIDE.replace("?" * 8, secrets.token_hex(4))
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        yield aside
    except OSError as error:
        raise _unwritable(error, folder) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        for place in made:  # innermost first
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def _unwritable(error: OSError, folder: Path) -> ExportError:
    reason = error.strerror or error
    return ExportError(f"the export cannot be written ({reason})", "choose another folder", folder.name)


def _put_in_place(aside: Path, folder: Path) -> None:
    """Move all files into the folder, or none: if one cannot be moved, restore the earlier files.

    A file that replaces another one keeps its rights. Files of an earlier export that the new one does
    not have, such as adapters, are deleted.
    """
    earlier = aside / "earlier"
    earlier.mkdir()
    placed, names = [], _names(aside, folder)
    for name in names:
        if (aside / name).is_file() and (folder / name).is_file():
            (aside / name).chmod(stat.S_IMODE((folder / name).stat().st_mode))
    write_text(aside / PLACING, "\n".join(name for name in names if (aside / name).is_file()))
    try:
        for name in names:
            if (folder / name).is_file():
                (earlier / name).parent.mkdir(exist_ok=True)
                (folder / name).replace(earlier / name)
            if (aside / name).is_file():
                (folder / name).parent.mkdir(exist_ok=True)
                (aside / name).replace(folder / name)
                placed.append(name)
    except OSError:
        for name in placed:
            (folder / name).unlink()
        for name in names:
            if (earlier / name).is_file():
                (earlier / name).replace(folder / name)
        raise
