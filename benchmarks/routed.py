"""What routing costs: the routed forward pass beside the plain one, ViT-B/32 shapes, alternating in one run.

For the default layers at rank 32 and a batch of 64, at most 1.3 times the plain pass is asked for.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.plain_pytorch_run import watch
from esm_viz.core.records import Layer
from esm_viz.families.model_families import architecture_of
from esm_viz.families.prototype_routing import Adapters, add_gathered, add_grouped
from esm_viz.families.routed_tower import RoutedTower, routed_layers
from esm_viz.families.vision_tower import encode

ARCH, BATCH, TASKS, RANK = "ViT-B-32-quickgelu", 64, 8, 32


def main(rounds: int) -> None:
    """Print medians over rounds, each as a ratio to the plain pass of the same round, and the two ways to add adapters.

    Weights are random. Prototypes are inputs of images of the batch, so that every layer uses several adapters.
    """
    torch.manual_seed(0)
    arch = architecture_of(ARCH, None)
    weights = {name: 0.02 * torch.randn(shape) for name, shape in arch.shapes.items()}
    images = torch.randn(BATCH, 3, arch.image_size, arch.image_size)
    means = _means(arch.tower(weights), arch.layers, images[:TASKS])
    plain, work = arch.tower(weights), {}
    work["plain"] = lambda: encode(plain, images)
    towers = {}
    for families in ("in_proj+c_fc", "in_proj+c_fc+c_proj+out_proj"):
        adapters = {layer.name: _experts(layer, means[layer.name]) for layer in routed_layers(arch.layers, families)}
        towers[families] = RoutedTower(arch.tower(weights), adapters, tuple(map(str, range(TASKS))))
        work[families] = lambda tower=towers[families]: encode(tower, images)
        work[f"{families}, one adapter"] = lambda tower=towers[families]: _told(tower, images)
    medians, ratios = _alternate(work, rounds)
    used = [len(row.unique()) for row in towers["in_proj+c_fc"].take_routes()[:, :BATCH]]
    print(f"{ARCH}, batch {BATCH}, {TASKS} tasks, rank {RANK}, {torch.get_num_threads()} threads, {rounds} rounds")
    print(f"adapters in use at the routed layers: {min(used)} to {max(used)}")
    _table("forward pass", medians, ratios)
    for layer in routed_layers(arch.layers, "in_proj+c_fc+c_proj")[:3]:
        _table(layer.label, *_alternate(_ways(layer), rounds))


def _means(tower: nn.Module, layers: tuple[Layer, ...], images: Tensor) -> dict[str, Tensor]:
    """Return each image's feature at every layer, (images, d_in)."""
    seen: dict[str, Tensor] = {}
    hooks = [watch(tower, layer, lambda rows, name=layer.name: seen.update({name: rows.mean(1)})) for layer in layers]
    encode(tower, images)
    for hook in hooks:
        hook.remove()
    return seen


def _experts(layer: Layer, prototypes: Tensor) -> Adapters:
    A = 0.02 * torch.randn(TASKS, RANK, layer.d_in)
    return Adapters(A, torch.linalg.qr(torch.randn(TASKS, layer.d_out, RANK))[0], prototypes)


def _told(tower: RoutedTower, images: Tensor) -> None:
    with tower.sent_to(0):
        encode(tower, images)


def _ways(layer: Layer, tokens: int = 50) -> dict[str, Callable[[], object]]:
    """Return the matrix product of a layer, and both ways to add the adapters of eight tasks in turn."""
    x, weight = torch.randn(BATCH, tokens, layer.d_in), torch.randn(layer.d_out, layer.d_in)
    y, routes = torch.zeros(BATCH, tokens, layer.d_out), torch.arange(BATCH) % TASKS
    adapters = _experts(layer, torch.zeros(TASKS, layer.d_in))
    ways = {"images of one adapter together": add_grouped, "each image with its own A and B": add_gathered}
    added = {name: lambda add=add: add(x, y, adapters, routes) for name, add in ways.items()}
    return {"plain": lambda: torch.nn.functional.linear(x, weight), **added}


def _alternate(work: dict[str, Callable[[], object]], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median seconds of each, and of its ratio to `plain` in the same round."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    with torch.inference_mode():
        for at in range(rounds + 1):  # the first round warms up and is not counted
            for name, run in work.items():
                start = time.perf_counter()
                run()
                if at:
                    seconds[name].append(time.perf_counter() - start)
    ratios = {
        name: statistics.median(own / plain for own, plain in zip(times, seconds["plain"], strict=True))
        for name, times in seconds.items()
    }
    return {name: statistics.median(times) for name, times in seconds.items()}, ratios


def _table(title: str, medians: dict[str, float], ratios: dict[str, float]) -> None:
    print(f"{title:<44}{'ms':>9}{'of plain':>10}")
    for name, median in medians.items():
        print(f"{name:<44}{1000 * median:>9.1f}{ratios[name]:>10.2f}")
