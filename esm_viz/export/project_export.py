"""The export of a recipe's model to files, with proof that they equal what was on screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from esm_viz.checkpoints.layout_table import BASE, chosen_layout, writable
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import ExportProof, Split
from esm_viz.evaluation.accuracy_measurement import evaluate
from esm_viz.evaluation.agreement_measurement import agreement
from esm_viz.export import verified_export
from esm_viz.search.alpha_search import with_alpha_found
from esm_viz.search.search_objective import alpha_objective
from esm_viz.stages.merged_model import materialize, routed_adapters
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import question


@question
def export(
    project: OpenedProject,
    recipe: Recipe,
    folder: Path,
    progress: Progress = NO_PROGRESS,
    *,
    portable: bool = False,
    layout: str = BASE,
    page: verified_export.MakePage | None = None,
) -> ExportProof:
    """Write model.safetensors, recipe.yaml and README.md, read them again, and check that they equal the preview.

    A routed model also has experts.safetensors, and is rebuilt from the two files for the check.

    Args:
        project: the opened project.
        recipe: a recipe of this project.
        folder: target folder; made if missing.
        progress: callback, may raise Cancelled.
        portable: whether to keep the recipe's own relative paths (for a download) instead of paths from `folder`.
        layout: layout of the weights file; "base" for the base file's layout.
        page: returns report.html; None for no report.

    Raises:
        LayoutError: there is no such layout.
        ProofFailed: the file is not what was on screen; nothing is left behind.
        ExportError: it cannot be written; nothing is left behind.
    """
    chosen = chosen_layout(layout, project.headers.base.layout, _vision(project))
    verified_export.finish_interrupted(folder)
    verified_export.refuse_overwriting(project.settled(recipe), folder)
    search_on = alpha_objective(project, recipe)
    recipe = with_alpha_found(project, recipe, progress.part(0.0, 0.3))
    adapters = routed_adapters(project, recipe, progress.part(0.3, 0.4))
    weights = materialize(project, recipe)
    splits = [split for split in get_args(Split) if project.has_labels(split)]
    shown = tuple(
        evaluate(project, recipe, split, progress=progress.part(0.4 + 0.1 * at, 0.5 + 0.1 * at), oracle=False)
        for at, split in enumerate(splits)
    )
    kept = agreement(project, recipe) if project.has_proxies else None
    files = recipe, project.headers, project.stages.digests
    preview = verified_export.Preview(*files, weights, shown, adapters, chosen, kept, search_on)
    rescore, rest = project.scorer.score_tower, progress.part(0.6, 1.0)
    return verified_export.export(preview, rescore, folder, portable=portable, page=page, progress=rest)


@question
def layouts(project: OpenedProject) -> dict[str, str]:
    """Return the layouts a model can be written in, by name with their titles; the base file's own comes first."""
    found = writable(project.headers.base.layout, _vision(project))
    return {name: layout.title for name, layout in found.items()}


def _vision(project: OpenedProject) -> Mapping[str, Any]:
    vision: Mapping[str, Any] = project.headers.arch.config.get("vision_cfg", {})
    return vision
