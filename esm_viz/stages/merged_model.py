"""The merged model of a recipe: weights, adapters, tower and features."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from esm_viz.core.errors import ImagesError, NumericsError, RecipeError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.families.prototype_routing import Adapters
from esm_viz.families.routed_tower import RoutedTower
from esm_viz.families.vision_tower import encode as features_of
from esm_viz.merge import static_part
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import question
from esm_viz.stages.routed_adapters import make_adapters

_LEAST = 1 << 20  # entries of a group: fewer are computed sooner than a thread begins and ends
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


def known_alpha(recipe: Recipe) -> float:
    """Return a recipe's α.

    Raises:
        RecipeError: α has still to be searched.
    """
    alpha = recipe.parameters["alpha"]
    if isinstance(alpha, str):
        raise RecipeError("alpha is still to be searched", "search it on validation images, or give a number")
    return float(alpha)


@question
def materialize(project: OpenedProject, recipe: Recipe, progress: Progress = NO_PROGRESS) -> dict[str, Tensor]:
    """Return the merged tower's tensors in the recipe's dtype; preview, evaluation and export all use them.

    Sums run in float64; each tensor is rounded once, at the end. Do not modify the tensors: they are cached. They do
    not include adapters, see `routed_adapters`.

    Raises:
        NumericsError: a number is too large for the dtype.
    """
    recipe, stages = static_part(project.settled(recipe)), project.stages
    known_alpha(recipe)

    def compute() -> dict[str, Tensor]:
        stages.run(recipe, False, progress)
        scales = stages.scales(recipe)
        named = {layer.name: layer for layer in project.layers}

        def weight(name: str) -> Tensor:
            base = project.headers.base.tensors([name], torch.float64)[name].to(project.device)
            delta = stages.merged(recipe, name, named.get(name)).delta
            merged = base.add_(delta, alpha=scales[name]).to(_DTYPES[recipe.dtype])
            if not torch.isfinite(merged.sum(dtype=torch.float64)):
                wrong = f"the merged weights do not fit into {recipe.dtype}"
                raise NumericsError(wrong, "lower α, or choose a wider type", f"at {name}")
            return merged

        groups = _in_groups(project.headers.arch.shapes)
        found = stages.parallel_map(lambda names: {name: weight(name) for name in names}, groups)
        return {name: tensor for group in found for name, tensor in group.items()}

    return stages.cache.get(("weights", project.canonical(recipe), project.device), compute)


def _in_groups(shapes: Mapping[str, tuple[int, ...]]) -> list[list[str]]:
    """Return the names in their order, in groups that are worth handing to a thread."""
    groups: list[list[str]] = [[]]
    entries = 0
    for name, shape in shapes.items():
        if entries >= _LEAST:
            groups.append([])
            entries = 0
        groups[-1].append(name)
        entries += math.prod(shape)
    return groups


@question
def routed_adapters(project: OpenedProject, recipe: Recipe, progress: Progress = NO_PROGRESS) -> dict[str, Adapters]:
    """Return every routed layer's adapters and prototypes, in the tower's order; empty for methods without adapters."""
    recipe = project.settled(recipe)
    weights = materialize(project, recipe, progress.part(0.0, 0.5))
    return make_adapters(project.stages, recipe, weights, progress.part(0.5, 1.0))


@question
def tower(project: OpenedProject, recipe: Recipe, progress: Progress = NO_PROGRESS) -> nn.Module:
    """Return the merged model, with its adapters if it is routed, ready to run in float32 on the device."""
    recipe = project.settled(recipe)
    weights = materialize(project, recipe, progress.part(0.0, 0.5))
    found = make_adapters(project.stages, recipe, weights, progress.part(0.5, 1.0))
    plain = project.scorer.tower(weights)
    return RoutedTower(plain, found, project.tasks).to(project.device) if found else plain


@question
def encode(project: OpenedProject, recipe: Recipe, images: Tensor, progress: Progress = NO_PROGRESS) -> Tensor:
    """Return the merged or routed model's image features, (n, embed_dim), float32, before any normalisation."""
    return encode_routed(project, recipe, images, progress)[0]


@question
def encode_routed(
    project: OpenedProject, recipe: Recipe, images: Tensor, progress: Progress = NO_PROGRESS
) -> tuple[Tensor, Tensor | None]:
    """Return image features, and the task to whose adapter every image was routed at every routed layer.

    Args:
        project: the opened project.
        recipe: a recipe of this project.
        images: preprocessed, (n, 3, H, W).
        progress: callback, may raise Cancelled.

    Returns:
        Features, (n, embed_dim), float32; routes, (layers, n), int64, indices into `tasks`, layers in the order of
        the tower (None for a model without adapters).

    Raises:
        ImagesError: the images have another shape.
    """
    side = project.headers.arch.image_size
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, side, side) or not len(images):
        raise ImagesError(f"images are {tuple(images.shape)}", f"give (n, 3, {side}, {side}), preprocessed")
    model, encoding = tower(project, recipe, progress.part(0.0, 0.5)), progress.part(0.5, 1.0)
    features = features_of(model, images, lambda done: encoding(done / len(images), "encoding")).cpu()
    return features, model.take_routes() if isinstance(model, RoutedTower) else None
