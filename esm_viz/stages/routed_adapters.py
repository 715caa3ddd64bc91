"""A recipe's adapters (METHOD, ESM++), computed at every routed layer from the difference of expert and merged weights.

| stage | computed per | key: identity of the merged weights (files, proxies, knobs), and |
|---|---|---|
| adapters | routed layer | expert_rank |

So adapters are recomputed when any knob of the merge changes, also α, but not when other layers are routed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from esm_viz.core import recipe as recipes
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Layer
from esm_viz.families.prototype_routing import Adapters
from esm_viz.families.routed_tower import routed_layers
from esm_viz.merge import static_part
from esm_viz.numerics.low_rank_adapter import low_rank_adapter
from esm_viz.stages.merge_stages import Stages


def make_adapters(
    stages: Stages, recipe: Recipe, weights: Mapping[str, Tensor], progress: Progress = NO_PROGRESS
) -> dict[str, Adapters]:
    """Return every routed layer's adapters in the order in which the tower runs them; empty for other methods.

    Args:
        stages: stages of the opened files.
        recipe: a recipe with all parameters and a number for α.
        weights: W_ESM, the merged tower as it is evaluated and exported, including α, scales and rounding.
        progress: callback, called at every layer; may raise Cancelled.

    Returns:
        By layer name: A and B in the weights' dtype, prototypes at least in float32.

    Raises:
        NumericsError: a moment is not finite.
    """
    static = static_part(recipe)
    if static is recipe:
        return {}
    identity, rank = recipes.canonical(static, stages.digests), int(recipe.parameters["expert_rank"])
    layers = routed_layers(stages.layers, str(recipe.parameters["routed"]))

    def make(layer: Layer) -> Adapters:
        key = ("adapters", identity, layer.name, rank, stages.device)
        return stages.kept(key, partial(_adapters_of, stages, recipe, weights[layer.name], layer, rank))

    def boundary(done: int) -> None:
        progress(done / len(layers), f"making adapters, {done} of {len(layers)} layers")

    return dict(zip([layer.name for layer in layers], stages.parallel_map(make, layers, boundary), strict=True))


def _adapters_of(stages: Stages, recipe: Recipe, merged: Tensor, layer: Layer, rank: int) -> Adapters:
    """Compute the T adapters of one layer, padded with zeros to the largest rank among them."""
    pairs, prototypes = [], []
    for task in recipe.tasks:
        tuned = stages.headers.experts[task].tensors([layer.name], torch.float64)[layer.name].to(stages.device)
        moment = stages.moment(recipe, task, layer)
        pairs.append(low_rank_adapter(tuned - merged.double(), moment, rank))
        prototypes.append(moment.mean)
    most = max(len(A) for _, A in pairs)
    return Adapters(
        A=torch.stack([F.pad(A, (0, 0, 0, most - len(A))) for _, A in pairs]).to(merged.dtype),
        B=torch.stack([F.pad(B, (0, most - B.shape[1])) for B, _ in pairs]).to(merged.dtype),
        prototypes=torch.stack(prototypes).to(torch.promote_types(merged.dtype, torch.float32)),
    )
