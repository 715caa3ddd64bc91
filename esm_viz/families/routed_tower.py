"""The routed tower of ESM++: merged weights, and at chosen layers per image the adapter of the task it resembles most.

At a routed layer an image's feature is the mean over its own tokens of the layer's input x, (tokens, d_in). The adapter
is argmax_t cosine(feature, p_t), and the output x W_ESMᵀ + (x A_tᵀ) B_tᵀ (arXiv:2606.19164; METHOD, ESM++). Nothing in
this depends on the other images of the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esm_viz.checkpoints.adapter_file import read_adapters
from esm_viz.checkpoints.atomic_write import sha256_tensors
from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.core.errors import DigestMismatch
from esm_viz.core.records import Family, Layer
from esm_viz.families.vision_tower import Architecture, module_of

RUN_ORDER: tuple[Family, ...] = ("in_proj", "out_proj", "c_fc", "c_proj")
"""Families as a block runs them, which is the order of routed layers everywhere."""


class Adapters(NamedTuple):
    """All tasks' adapters at one layer; a task with fewer than r live directions is filled up with zeros.

    Attributes:
        A: A_t, (T, r, d_in).
        B: B_t, (T, d_out, r).
        prototypes: p_t, (T, d_in).
    """

    A: Tensor
    B: Tensor
    prototypes: Tensor


def routed_layers(layers: Iterable[Layer], families: str) -> tuple[Layer, ...]:
    """Return the layers of some families, joined by "+", in the order in which the tower runs them."""
    chosen = [layer for layer in layers if layer.family in families.split("+")]
    return tuple(sorted(chosen, key=lambda layer: (layer.block, RUN_ORDER.index(layer.family))))


def nearest(features: Tensor, directions: Tensor) -> Tensor:
    """Return argmax_t cosine(feature, p_t), (n,), int64; the first of equal tasks.

    Args:
        features: (n, d_in), float64. All zero, NaN or infinite they still get an adapter, and only they are affected.
        directions: p_t / ‖p_t‖, (T, d_in), float64; zero for a prototype of zero, whose cosine then counts as 0.
    """
    # A task at a time instead of one product: equal prototypes then give equal bits, wherever they stand.
    return torch.stack([(features * direction).sum(-1) for direction in directions], 1).argmax(1)


def add_grouped(x: Tensor, y: Tensor, adapters: Adapters, routes: Tensor) -> None:
    """Add (x A_tᵀ) B_tᵀ to y in place, the images of one adapter together.

    Args:
        x: (n, tokens, d_in).
        y: (n, tokens, d_out), contiguous.
        adapters: of the layer.
        routes: t of every image, (n,).
    """
    for t, count in enumerate(torch.bincount(routes, minlength=len(adapters.A)).tolist()):
        A, B = adapters.A[t].mT, adapters.B[t].mT
        if count == len(x):  # nothing to gather, and the sum goes into the second product
            y.view(-1, y.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]) @ A, B)
        elif count:
            own = (routes == t).nonzero()[:, 0]
            y.index_add_(0, own, x[own] @ A @ B)


def add_gathered(x: Tensor, y: Tensor, adapters: Adapters, routes: Tensor) -> None:
    """Do what `add_grouped` does in two batched products, each image beside its own A_t and B_t.

    A processor spends more on the copies than on the sums; a device that would have to tell how many images chose
    which adapter, and be sent many small products, does not.
    """
    y.baddbmm_(x @ adapters.A[routes].mT, adapters.B[routes].mT)


class Router(nn.Module):
    """One routed layer: finds every image's adapter and adds what it gives.

    Attributes:
        routes: of the last batch, (n,), int64.
        given: the adapter that all images get, whatever they resemble; None where they choose.
    """

    A: Tensor
    B: Tensor
    directions: Tensor

    def __init__(self, adapters: Adapters) -> None:
        """Take one layer's adapters; they run in float32, and cosines in float64."""
        super().__init__()
        directions = F.normalize(adapters.prototypes.double(), dim=1, eps=torch.finfo(torch.float64).tiny)
        for name, tensor in (("A", adapters.A.float()), ("B", adapters.B.float()), ("directions", directions)):
            self.register_buffer(name, tensor.contiguous())
        self.routes = torch.zeros(0, dtype=torch.int64)
        self.given: int | None = None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the adapters of x, (n, tokens, d_in), to y = x W_ESMᵀ + b, (n, tokens, d_out), in place."""
        if self.given is None:
            self.routes = nearest(x.mean(1).double(), self.directions)
        else:
            self.routes = torch.full((len(x),), self.given, device=x.device)
        add = add_gathered if x.is_cuda else add_grouped
        add(x, y, Adapters(self.A, self.B, self.directions), self.routes)
        return y


class RoutedTower(nn.Module):
    """A tower with adapters: images in, features out, and it keeps which adapters every image went through.

    Attributes:
        tasks: what a route counts.
        layers: names of the routed layers, in the order of the routes.
        base_parameters, adapter_parameters: numbers in the tower, and in adapters and prototypes.
    """

    def __init__(self, tower: nn.Module, adapters: Mapping[str, Adapters], tasks: tuple[str, ...]) -> None:
        """Hang routers into a tower.

        Args:
            tower: filled with the merged weights, float32; it is changed, and belongs to this one from now on.
            adapters: by layer name, in the order in which the tower runs them.
            tasks: T names.
        """
        super().__init__()
        self.tasks, self.layers = tasks, tuple(adapters)
        self.base_parameters = sum(tensor.numel() for tensor in tower.state_dict().values())
        self.adapter_parameters = sum(tensor.numel() for each in adapters.values() for tensor in each)
        self.tower = tower
        self._routers = [Router(each) for each in adapters.values()]
        self.routers = nn.ModuleList(self._routers)  # so that they move to a device with the tower
        for name, router in zip(adapters, self._routers, strict=True):
            module_of(tower, name).register_forward_hook(lambda _module, x, y, router=router: router(x[0], y))
        self._routes: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return image features, (n, embed_dim), before any normalisation."""
        features = self.tower(images)
        self._routes.append(torch.stack([router.routes for router in self._routers]).cpu())
        return features

    def take_routes(self) -> Tensor:
        """Return the adapters of all images since this was last asked, (layers, n), int64, indices into `tasks`."""
        routes, self._routes = self._routes, []
        return torch.cat(routes, 1) if routes else torch.zeros(len(self.layers), 0, dtype=torch.int64)

    @contextmanager
    def sent_to(self, task: int) -> Iterator[None]:
        """Send every image to one task's adapters, as an oracle would: the upper bound of routing."""
        try:
            for router in self._routers:
                router.given = task
            yield
        finally:
            for router in self._routers:
                router.given = None


def load_routed(arch: Architecture, model: Path, adapters: Path) -> RoutedTower:
    """Rebuild a routed tower from the two files of an export.

    Args:
        arch: of the model.
        model: `model.safetensors`, the merged weights.
        adapters: `experts.safetensors` of the same export.

    Raises:
        CheckpointError: a file cannot be read, does not fit the architecture, or holds NaN or Inf.
        DigestMismatch: the adapters belong to other weights.
    """
    merged = Checkpoint("model", model)
    merged.judge(arch.shapes)
    weights = merged.tensors(arch.shapes)
    found = read_adapters(adapters, {layer.name: (layer.d_out, layer.d_in) for layer in arch.layers})
    if found.model_sha256 != sha256_tensors(weights):
        raise DigestMismatch(
            f"adapters: they were made for other weights than {model.name} holds",
            "use the two files of one export",
            adapters.name,
        )
    tower = arch.tower({name: tensor.float() for name, tensor in weights.items()})
    return RoutedTower(tower, {name: Adapters(*parts) for name, parts in found.layers.items()}, found.tasks)
