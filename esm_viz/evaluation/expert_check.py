"""Checks before a merge: the accuracy of each expert on its own task, and of the base with either activation."""

from __future__ import annotations

from esm_viz.core.errors import ImagesError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import ActivationScores, OwnAccuracy
from esm_viz.inspection.file_judgement import with_activation
from esm_viz.inspection.opened_files import open_headers
from esm_viz.runtime.device import resolve_device
from esm_viz.runtime.stage_cache import StageCache
from esm_viz.stages.cached_predictions import Scorer


def own_accuracy(scorer: Scorer, progress: Progress = NO_PROGRESS) -> tuple[OwnAccuracy, ...]:
    """Measure each expert on its own labelled validation images, if it has some.

    Args:
        scorer: the scorer of an opened project.
        progress: callback, may raise Cancelled.
    """
    scores = scorer.alone("finetuned", "validation", progress)
    heads, listed = scorer.headers.heads, scorer.headers.labelled["validation"]
    return tuple(
        OwnAccuracy(task, score, len(heads[task].weight), scorer.commonest(task, "validation"), listed[task].told)
        for task, score in scores.items()
    )


def compare_activations(
    recipe: Recipe, device: str, cache: StageCache, progress: Progress = NO_PROGRESS
) -> ActivationScores:
    """Score the base on the experts' validation images with QuickGELU and with GELU.

    The weights do not say with which activation they were trained.

    Args:
        recipe: the recipe whose activation is unknown.
        device: "auto", "cpu" or "cuda".
        cache: the cache of all stages.
        progress: callback, may raise Cancelled.

    Raises:
        ImagesError: no task has labelled validation images.
        EsmVizError: a file is wrong.
    """
    digest, found = "", []
    for at, quick_gelu in enumerate((True, False)):
        said = with_activation(recipe, quick_gelu)
        headers = open_headers(said)
        if not headers.labelled["validation"]:
            raise ImagesError("no task has labelled validation images", "choose the activation by its training")
        digest = digest or headers.base.verify(tuple(headers.arch.shapes), recipe.base_sha256)
        scorer = Scorer(said, headers, {recipe.base: digest}, resolve_device(device), cache)
        found.append(scorer.alone("pretrained", "validation", progress.part(at / 2, (at + 1) / 2)))
    quick, plain = (tuple(scores.values()) for scores in found)
    return ActivationScores(tuple(found[0]), quick, plain)
