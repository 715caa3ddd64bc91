"""Export with proof: the files are written aside, read again, hashed and re-evaluated, and only then put in place."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

import esm_viz
from esm_viz import recipe as recipes
from esm_viz.card import model_card
from esm_viz.checkpoints.reading import Checkpoint, sha256_file
from esm_viz.checkpoints.writing import sha256_tensors, write_tensors, write_text
from esm_viz.errors import ExportError
from esm_viz.merge import settle
from esm_viz.recipe import Recipe
from esm_viz.types import Evaluation, ExportProof, ProofRow, Report

if TYPE_CHECKING:
    from esm_viz.pipeline import Project

WEIGHTS, RECIPE, CARD = "model.safetensors", "recipe.yaml", "README.md"


def export(project: Project, recipe: Recipe, folder: Path, report: Report, portable: bool) -> ExportProof:
    """Write a merge into a folder and prove it equal to the preview (see `Project.export`)."""
    weights = project.materialize(recipe, lambda fraction, words: report(0.3 * fraction, words))
    split = project.label_source()
    shown = (
        project.evaluate(recipe, split, report=lambda fraction, words: report(0.3 + 0.3 * fraction, words))
        if split
        else None
    )
    written = _written_recipe(project, recipe, folder, portable)
    with _staging(folder) as aside:
        report(0.6, "writing")
        write_tensors(aside / WEIGHTS, dict(_in_base_layout(project, weights)), _metadata(project, recipe, weights))
        write_text(aside / RECIPE, written.to_yaml())
        write_text(aside / CARD, model_card(project, recipe, shown))
        report(0.7, "reading again")
        rows = _compare(project, recipe, weights, shown, written, aside)
        wrong = [row.what for row in rows if not row.equal]
        if wrong:
            raise ExportError(f"the file differs from the preview in {', '.join(wrong)}", "export again")
        report(0.95, "putting in place")
        digest = sha256_file(aside / WEIGHTS)
        for name in (WEIGHTS, RECIPE, CARD):
            Path(aside / name).replace(folder / name)
    report(1.0, "exported")
    return ExportProof(
        folder=str(folder),
        files=(WEIGHTS, RECIPE, CARD),
        recipe_sha256=project.sha256(recipe),
        tensors_sha256=sha256_tensors(weights),
        file_sha256=digest,
        rows=tuple(rows),
    )


def _compare(
    project: Project,
    recipe: Recipe,
    weights: Mapping[str, Tensor],
    shown: Evaluation | None,
    written: Recipe,
    aside: Path,
) -> list[ProofRow]:
    """Read everything back and set it beside what was on screen, one row a check."""
    again = Checkpoint("export", aside / WEIGHTS)
    again.judge(project.headers().arch.shapes)
    tensors = again.tensors(weights, next(iter(weights.values())).dtype)
    reread = settle(recipes.parse_text((aside / RECIPE).read_text(encoding="utf-8"), written.folder, RECIPE))
    rows = [
        ProofRow("tensors, SHA-256", sha256_tensors(weights), sha256_tensors(tensors)),
        ProofRow("recipe, SHA-256", project.sha256(recipe), recipes.sha256_text(_identity(project, recipe, reread))),
        ProofRow("recipe in the weights", project.canonical(recipe), again.metadata.get("esm_viz.recipe", "")),
    ]
    if shown is not None:
        scores = project.rescore(tensors, shown.split)
        for before, after in zip(shown.tasks, scores, strict=True):
            n = before.merged.n
            rows.append(
                ProofRow(
                    f"{before.task}, {n} {shown.split} images",
                    f"{before.merged.correct} of {n} right",
                    f"{after.correct} of {after.n} right",
                )
            )
    return rows


def _identity(project: Project, recipe: Recipe, reread: Recipe) -> str:
    """Return the canonical JSON of a recipe that was read back, from the digests it names itself."""
    digests = {reread.base: reread.base_sha256}
    for mine, model in zip(recipe.models, reread.models, strict=True):
        digests[model.path] = model.sha256
        if model.proxies:
            digests[model.proxies] = project.stages.digests[mine.proxies]
    return recipes.canonical(reread, digests)


def _written_recipe(project: Project, recipe: Recipe, folder: Path, portable: bool) -> Recipe:
    """Return the recipe as the export carries it: every file with its digest, paths that work from there."""

    def place(path: str) -> str:
        if not path:
            return ""
        if portable:
            return Path(path).name if Path(path).is_absolute() else path
        return Path(os.path.relpath(recipe.resolve(path).resolve(), folder.resolve())).as_posix()

    digests = project.stages.digests
    models = []
    for model in recipe.models:
        images = {name: place(getattr(model, name)) for name in ("proxies", "validation", "test")}
        head = place(model.head) if isinstance(model.head, str) else model.head
        models.append(
            recipes.ModelEntry(model.name, place(model.path), digests[model.path], model.weight, head=head, **images)
        )
    return recipe.replace(
        base=place(recipe.base), base_sha256=digests[recipe.base], models=tuple(models), folder=folder
    )


def _in_base_layout(project: Project, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of the base file under its own name, the tower's replaced by the merged ones."""
    base = project.headers().base
    dtype = next(iter(weights.values())).dtype
    for name, tensor in base.everything():
        inner = name.removeprefix(base.prefix)
        if name.startswith(base.prefix) and inner in weights:
            yield name, weights[inner].cpu()
        else:
            yield name, tensor.to(dtype) if tensor.is_floating_point() else tensor


def _metadata(project: Project, recipe: Recipe, weights: Mapping[str, Tensor]) -> dict[str, str]:
    digests = project.stages.digests
    models = [{"name": "base", "sha256": digests[recipe.base]}]
    models += [{"name": model.name, "sha256": digests[model.path]} for model in recipe.models]
    return {
        "format": "pt",
        "esm_viz.version": esm_viz.__version__,
        "esm_viz.recipe": project.canonical(recipe),
        "esm_viz.recipe_sha256": project.sha256(recipe),
        "esm_viz.tensors_sha256": sha256_tensors(weights),
        "esm_viz.models": json.dumps(models, ensure_ascii=False),
    }


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside the target; afterwards it is gone, and a target that stayed empty too.

    Raises:
        ExportError: neither can be made or written.
    """
    aside = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.part"
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside.mkdir()
        yield aside
    except OSError as error:
        raise ExportError(
            f"the export cannot be written ({error.strerror or error})", "choose another folder", folder.name
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
