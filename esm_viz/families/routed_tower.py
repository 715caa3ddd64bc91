"""The routed tower of ESM++: merged weights, and at chosen layers per image the adapter of the task it resembles most.

Which adapter an image takes at a layer, and what that adds, is in `prototype_routing.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from esm_viz.checkpoints.adapter_file import read_adapters
from esm_viz.checkpoints.atomic_write import sha256_tensors
from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.core.errors import DigestMismatch
from esm_viz.core.records import Layer, LayerRole
from esm_viz.families.architecture import Architecture
from esm_viz.families.module_tower import FeatureTower
from esm_viz.families.prototype_routing import Adapters, Router
from esm_viz.families.routed_calls import RoutedCalls
from esm_viz.families.vision_tower import module_of

RUN_ORDER: tuple[LayerRole, ...] = ("in_proj", "out_proj", "c_fc", "c_proj")
"""Roles as a block runs them, which is the order of routed layers everywhere."""


def routed_layers(layers: Iterable[Layer], roles: str) -> tuple[Layer, ...]:
    """Return the layers of some roles, joined by "+", in the order in which the tower runs them."""
    chosen = [layer for layer in layers if layer.role in roles.split("+")]
    return tuple(sorted(chosen, key=lambda layer: (layer.block, RUN_ORDER.index(layer.role))))


class RoutedTower(nn.Module):
    """A tower with adapters; maps images to features and records the routes of every image.

    Attributes:
        tasks: names of the tasks, by the indices in the routes.
        layers: names of the routed layers, in the order of the routes.
        base_parameters, adapter_parameters: parameters of the tower, and of adapters and prototypes together.
    """

    def __init__(self, tower: nn.Module, adapters: Mapping[str, Adapters], tasks: tuple[str, ...]) -> None:
        """Add routers to a tower.

        Args:
            tower: a tower with the merged weights, float32; it is modified and must not be used elsewhere.
            adapters: adapters by layer name, in the order in which the tower runs the layers.
            tasks: names of the T tasks.
        """
        super().__init__()
        self.tasks, self.layers = tasks, tuple(adapters)
        self.base_parameters = sum(tensor.numel() for tensor in tower.state_dict().values())
        self.adapter_parameters = sum(tensor.numel() for each in adapters.values() for tensor in each)
        self.tower = tower
        self._routers = [Router(each) for each in adapters.values()]
        self.routers = nn.ModuleList(self._routers)  # so that they move to a device with the tower
        for name, router in zip(adapters, self._routers, strict=True) if not isinstance(tower, FeatureTower) else ():
            module_of(tower, name).register_forward_hook(lambda _module, x, y, router=router: router(x[0], y))
        self._routes: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return image features, (n, embed_dim), before any normalisation."""
        features = self._features(images)
        self._routes.append(torch.stack([router.routes for router in self._routers]).cpu())
        return features

    def _features(self, images: Tensor) -> Tensor:
        if not isinstance(self.tower, FeatureTower):
            return self.tower(images)
        with RoutedCalls(self.tower, dict(zip(self.layers, self._routers, strict=True)), len(images)):
            return self.tower(images)

    def take_routes(self) -> Tensor:
        """Return the routes of all images since the last call, (layers, n), int64, as indices into `tasks`."""
        routes, self._routes = self._routes, []
        return torch.cat(routes, 1) if routes else torch.zeros(len(self.layers), 0, dtype=torch.int64)

    @contextmanager
    def sent_to(self, task: int) -> Iterator[None]:
        """Route every image to one task's adapters while the block runs (oracle routing)."""
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
        arch: the model's architecture.
        model: `model.safetensors`, the merged weights.
        adapters: `experts.safetensors` of the same export.

    Raises:
        CheckpointError: a file cannot be read, does not fit the architecture, or holds NaN or Inf.
        DigestMismatch: the adapters belong to other weights.
    """
    merged = Checkpoint("model", model, layouts=arch.layout_of)
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
