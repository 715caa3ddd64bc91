"""`python -m benchmarks.plain_pytorch_run RECIPE`: time the plain way from scratch in a process of its own, print JSON.

It merges twice, from the same float32 activations: in float32, as most code does, and in float64, which is what an
error like ours takes.

Its own, because our package tells the linear algebra libraries to keep to one thread a matrix and to wait asleep: the
plain way goes as most code does, with all threads on one matrix, spinning.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

import esm_viz
from benchmarks import plain_pytorch
from esm_viz.core.records import Layer
from esm_viz.families.vision_tower import module_of

ENVIRONMENT = {"OMP_WAIT_POLICY": "ACTIVE"}


def main(path: str) -> None:
    """Time reading with forward passes, and ESD with ESM."""
    project = esm_viz.Project.open(esm_viz.load_recipe(path))
    start = time.perf_counter()
    deltas, inputs = material(project)
    reading = time.perf_counter() - start
    seconds = {"reading": reading}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        start = time.perf_counter()
        merge(project.layers, deltas, inputs, dtype)
        seconds[name] = time.perf_counter() - start
    print(json.dumps(seconds))


def material(project: esm_viz.Project) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
    """Return float32 ΔW_t and X_t of every layer: whole checkpoints read, whole forward passes, everything held."""
    headers, recipe = project.headers, project.recipe
    deltas: dict[str, list[Tensor]] = {layer.name: [] for layer in project.layers}
    inputs: dict[str, list[Tensor]] = {layer.name: [] for layer in project.layers}
    base = headers.base.tensors(deltas, torch.float32)
    for task in project.tasks:
        weights = headers.experts[task].tensors(headers.arch.shapes, torch.float32)
        tower = headers.arch.tower(weights)
        for layer in project.layers:
            watch(tower, layer, lambda rows, into=inputs[layer.name]: into.append(rows.flatten(0, 1)))
            deltas[layer.name].append(weights[layer.name] - base[layer.name])
        with torch.inference_mode():
            tower(project.stages.proxies(recipe, task))
    return deltas, inputs


def watch(tower: nn.Module, layer: Layer, see: Callable[[Tensor], None]) -> RemovableHandle:
    """Show a layer's input, (images, tokens, d_in), in every forward pass until the handle is removed."""
    return module_of(tower, layer.name).register_forward_pre_hook(lambda _, inputs: see(inputs[0]))


def merge(
    layers: tuple[Layer, ...],
    deltas: Mapping[str, list[Tensor]],
    inputs: Mapping[str, list[Tensor]],
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Merge all layers the plain way, in products and decompositions of this type."""
    merged = {}
    for layer in layers:
        own = [delta.to(dtype) for delta in deltas[layer.name]]
        if layer.essential:
            merged[layer.name] = plain_pytorch.merge_layer(own, [rows.to(dtype) for rows in inputs[layer.name]])
        else:
            merged[layer.name] = plain_pytorch.merge_singular_vectors(own)
    return plain_pytorch.scale_families(merged, {layer.name: layer.family for layer in layers})


if __name__ == "__main__":
    main(sys.argv[1])
