"""A whole project in miniature: a 2-block tower of width 16, three fine-tunes, proxies, heads and labelled images.

Labels are what each task's own expert answers, every fourth one moved on by one class: the expert is right on 3 of 4
images, and base and merged model on other numbers of them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPVisionCfg, _build_vision_tower
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.merge import settle

SIDE, EMBED, CLASSES, LABELLED = 16, 8, 4, 24
PROXIES = {"ants": 14, "bees": 6, "cats": 4}
"""Proxies of each task, of 5 tokens each: 70, 30 and 20 tokens at layers of 16, 48 and 64 outputs."""
TASKS = tuple(PROXIES)
CONFIG: dict[str, Any] = {
    "embed_dim": EMBED,
    "quick_gelu": True,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
FULL_CONFIG: dict[str, Any] = {**CONFIG, "text_cfg": TEXT}
IN_PROJ = "transformer.resblocks.0.attn.in_proj_weight"
C_FC = "transformer.resblocks.1.mlp.c_fc.weight"
C_PROJ = "transformer.resblocks.1.mlp.c_proj.weight"
OUT_PROJ = "transformer.resblocks.0.attn.out_proj.weight"


def generator(seed: int) -> torch.Generator:
    """Return a generator of its own, so that no test depends on another's draws."""
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return standard normal numbers."""
    return torch.randn(shape, generator=generator(seed), dtype=dtype)


def relative(found: Tensor, truth: Tensor) -> float:
    """Return ‖found − truth‖ / ‖truth‖ in float64."""
    return float((found.double() - truth.double()).norm() / truth.double().norm())


def open_clip_tower(config: Mapping[str, Any] = CONFIG) -> nn.Module:
    """Return open_clip's own tower, untouched, in eval mode."""
    vision = CLIPVisionCfg(**config["vision_cfg"])
    return _build_vision_tower(config["embed_dim"], vision, quick_gelu=config["quick_gelu"]).eval()


def filled(weights: Mapping[str, Tensor], config: Mapping[str, Any] = CONFIG) -> nn.Module:
    """Return open_clip's own tower with these weights, in float32."""
    tower = open_clip_tower(config)
    tower.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=True)
    return tower.requires_grad_(False)


def base_weights(seed: int = 0) -> dict[str, Tensor]:
    """Return a pre-trained tower's weights: normal, with the scale of a trained one."""
    weights = {}
    for at, (name, tensor) in enumerate(open_clip_tower().state_dict().items()):
        drawn = normal(*tensor.shape, seed=1000 * seed + at, dtype=torch.float32)
        fan = math.prod(tensor.shape[1:]) if tensor.ndim > 1 else 1
        weights[name] = 1 + 0.1 * drawn if name.endswith("ln_1.weight") else drawn * (fan**-0.5 if fan > 1 else 0.3)
    return weights


def tuned_weights(base: Mapping[str, Tensor], seed: int, size: float = 0.15) -> dict[str, Tensor]:
    """Return a fine-tune: every tensor moved by `size` of its own scale."""
    return {
        name: tensor + size * tensor.std() * normal(*tensor.shape, seed=7000 * (seed + 1) + at, dtype=torch.float32)
        for at, (name, tensor) in enumerate(base.items())
    }


def images(count: int, seed: int) -> Tensor:
    """Return preprocessed images with more than noise in them: a few low frequencies."""
    coarse = normal(count, 3, 4, 4, seed=seed, dtype=torch.float32)
    return F.interpolate(coarse, SIDE, mode="bilinear", align_corners=False).contiguous()


def answers(tower: nn.Module, head: Tensor, pictures: Tensor) -> Tensor:
    """Return the chosen classes of a plain forward pass."""
    with torch.inference_mode():
        return (F.normalize(tower(pictures), dim=-1) @ head.mT).argmax(1)


def full_clip(weights: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Return the state dict of a full CLIP whose vision part has these weights."""
    torch.manual_seed(seed)
    model = CLIP(**copy.deepcopy(FULL_CONFIG))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return {**state, **{f"visual.{name}": tensor for name, tensor in weights.items()}}


def write_project(folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write base, experts, proxies, heads and labelled images of all tasks."""
    base = base_weights()
    save_file({name: tensor.to(dtype) for name, tensor in base.items()}, folder / "base.safetensors")
    for at, task in enumerate(TASKS):
        tuned = {name: tensor.to(dtype) for name, tensor in tuned_weights(base, at).items()}
        save_file(tuned, folder / f"{task}.safetensors")
        save_file({"images": images(PROXIES[task], 100 + at)}, folder / f"{task}_proxies.safetensors")
        head = normal(CLASSES, EMBED, seed=200 + at, dtype=torch.float32)
        save_file({"weight": head}, folder / f"{task}_head.safetensors")
        tower = filled(tuned)
        for step, split in enumerate(("validation", "test")):
            pictures = images(LABELLED, 300 + 10 * at + step)
            labels = answers(tower, head, pictures).clone()
            labels[::4] = (labels[::4] + 1) % CLASSES
            save_file({"images": pictures, "labels": labels}, folder / f"{task}_{split}.safetensors")


def mislabel(folder: Path, task: str) -> None:
    """Label a task's validation images so that its expert is right on none of them."""
    labelled = load_file(folder / f"{task}_validation.safetensors")
    head = load_file(folder / f"{task}_head.safetensors")["weight"]
    chosen = answers(filled(load_file(folder / f"{task}.safetensors")), head, labelled["images"])
    save_file({**labelled, "labels": (chosen + 1) % CLASSES}, folder / f"{task}_validation.safetensors")


def spread(folder: Path, task: str) -> None:
    """Give a task a head that answers with all of its classes, and labels of which its expert is right on 3 of 4.

    The heads of `write_project` see what all images have in common, and answer with one class alone.
    """
    tower = filled(load_file(folder / f"{task}.safetensors"))
    labelled = load_file(folder / f"{task}_validation.safetensors")
    with torch.inference_mode():
        common = F.normalize(F.normalize(tower(labelled["images"]), dim=-1).mean(0), dim=0)
    head = load_file(folder / f"{task}_head.safetensors")["weight"]
    head = head - (head @ common)[:, None] * common
    save_file({"weight": head}, folder / f"{task}_head.safetensors")
    for split in ("validation", "test"):
        labelled = load_file(folder / f"{task}_{split}.safetensors")
        labels = answers(tower, head, labelled["images"]).clone()
        labels[::4] = (labels[::4] + 1) % CLASSES
        save_file({**labelled, "labels": labels}, folder / f"{task}_{split}.safetensors")


def mapping(method: str = "esm", **parameters: object) -> dict[str, Any]:
    """Return the recipe of `write_project`'s files as a mapping, free to be changed."""
    models = [
        {
            "name": task,
            "path": f"{task}.safetensors",
            "proxies": f"{task}_proxies.safetensors",
            "head": f"{task}_head.safetensors",
            "validation": f"{task}_validation.safetensors",
            "test": f"{task}_test.safetensors",
        }
        for task in TASKS
    ]
    return {
        "merge_method": method,
        "arch": copy.deepcopy(CONFIG),
        "base_model": {"path": "base.safetensors"},
        "models": models,
        "parameters": parameters,
    }


def recipe(folder: Path, method: str = "esm", **parameters: object) -> Recipe:
    """Return the settled recipe of `write_project`'s files."""
    return settle(parse_mapping(mapping(method, **parameters), folder))
