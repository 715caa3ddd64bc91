"""A project of real shapes: random weights, fine-tunes with structured updates, proxies of a few low frequencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.families.model_families import architecture_of
from esm_viz.merge import settle

VIT_B_32 = {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32}
VIT_L_14 = {"image_size": 224, "layers": 24, "width": 1024, "patch_size": 14}
_RANK = 64  # of an update's strong part
_SIZE = 0.1  # of an update against the weights it changes


def write(
    folder: Path, vision: dict[str, Any], embed_dim: int, tasks: int, proxies: int, **parameters: object
) -> Recipe:
    """Write base, fine-tunes and proxies into a folder and return their recipe.

    Args:
        folder: an empty one.
        vision: open_clip's vision_cfg.
        embed_dim: width of the image features.
        tasks: T.
        proxies: images a task.
        parameters: of the recipe's method.
    """
    config = {"embed_dim": embed_dim, "quick_gelu": True, "vision_cfg": vision}
    names = [f"task{at}" for at in range(tasks)]
    models = [{"name": name, "path": f"{name}.safetensors", "proxies": f"{name}_proxies.safetensors"} for name in names]
    raw = {"merge_method": "esm", "arch": config, "base_model": {"path": "base.safetensors"}, "models": models}
    recipe = settle(parse_mapping({**raw, "parameters": parameters}, folder))
    arch = architecture_of(recipe.arch, recipe.arch_config)
    draw = torch.Generator().manual_seed(0)
    base = {name: _weights(name, shape, draw) for name, shape in arch.shapes.items()}
    save_file(base, folder / "base.safetensors")
    for name in names:
        save_file({key: tensor + _update(tensor, draw) for key, tensor in base.items()}, folder / f"{name}.safetensors")
        coarse = torch.randn(proxies, 3, 8, 8, generator=draw)
        images = F.interpolate(coarse, vision["image_size"], mode="bicubic", align_corners=False)
        save_file({"images": images.contiguous()}, folder / f"{name}_proxies.safetensors")
    return recipe


def _weights(name: str, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    if len(shape) == 1:
        return (
            torch.ones(shape)
            if ".ln_" in name and name.endswith("weight")
            else 0.02 * torch.randn(shape, generator=draw)
        )
    fan = torch.Size(shape[1:]).numel()
    return torch.randn(shape, generator=draw) / fan**0.5


def _update(weights: Tensor, draw: torch.Generator) -> Tensor:
    """Return a change with a decaying spectrum over a little noise, as fine-tuning makes it."""
    noise = torch.randn(weights.shape, generator=draw)
    if weights.ndim != 2:
        return _SIZE * weights.std().nan_to_num(0.02) * noise
    rank = min(_RANK, *weights.shape)
    sides = [torch.randn(side, rank, generator=draw) / side**0.5 for side in weights.shape]
    decay = torch.arange(1, rank + 1) ** -0.7
    strong = (sides[0] * decay) @ sides[1].mT
    return _SIZE * weights.norm() * (0.95 * strong / strong.norm() + 0.3 * noise / noise.norm())
