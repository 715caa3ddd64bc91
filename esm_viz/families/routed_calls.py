"""Adapters in any library's network: each product with a routed weight gets the adapters' output added.

Hooks on modules would miss weights that a library multiplies by in a function, such as EVA's packed q, k and v. So the
products themselves are watched, and recognised by their weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from esm_viz.families.module_tower import FeatureTower, input_rows
from esm_viz.families.prototype_routing import Router

_PRODUCTS = (F.linear, F.conv1d, F.conv2d)


class _Part(NamedTuple):
    """One of the weights of a routed layer: the module that holds it, and its rows in the layer's matrix."""

    router: Router
    module: nn.Module
    rows: slice


class RoutedCalls(TorchFunctionMode):
    """While active, products with a routed layer's weights have its adapters' output added."""

    def __init__(self, tower: FeatureTower, routers: Mapping[str, Router], images: int) -> None:
        """Find the weights of the routed layers.

        Args:
            tower: the tower that will run.
            routers: routers by layer name.
            images: number of images of the batch.
        """
        super().__init__()
        self._images = images
        self._parts: dict[int, _Part] = {}
        for layer, router in routers.items():
            start = 0
            for name in tower.part_names[layer]:
                weight = tower.network.get_parameter(name)
                module = tower.network.get_submodule(name.rpartition(".")[0])
                self._parts[id(weight)] = _Part(router, module, slice(start, start + len(weight)))
                start += len(weight)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch; add adapters to a product with a routed weight."""
        named = kwargs or {}
        y = func(*args, **named)
        if func not in _PRODUCTS:
            return y
        part = self._parts.get(id(named["weight"] if "weight" in named else args[1]))
        return y if part is None else self._added(part, named["input"] if "input" in named else args[0], y)

    def _added(self, part: _Part, x: Tensor, y: Tensor) -> Tensor:
        rows = input_rows(part.module, x, self._images)
        if isinstance(part.module, nn.Conv1d | nn.Conv2d):
            out = part.router(rows, y.flatten(2).mT.contiguous(), part.rows)
            return out.mT.reshape(y.shape)
        out = part.router(rows, y.reshape(self._images, -1, y.shape[-1]).contiguous(), part.rows)
        return out.reshape(y.shape)
