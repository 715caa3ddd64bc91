"""Every layer's input of a whole tower, seen by hooks in one plain forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from esm_viz.core.records import Layer


def watch_inputs(tower: nn.Module, layers: Sequence[Layer], images: Tensor, see: Callable[[str, Tensor], None]) -> None:
    """Run images through a tower and show each layer's name and input, (images, tokens, d_in)."""
    hooks = []
    for layer in layers:
        module = tower.get_submodule(layer.name.rpartition(".")[0])
        hooks.append(module.register_forward_pre_hook(lambda _, inputs, name=layer.name: see(name, inputs[0])))
    with torch.inference_mode():
        tower(images)
    for hook in hooks:
        hook.remove()
