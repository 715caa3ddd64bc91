"""Lines of Python that load an exported model with the library of its layout, without network access."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from open_clip.model import CLIPVisionCfg

from esm_viz.checkpoints.layout_table import HF, HF_VISION, TIMM, Layout
from esm_viz.core.recipe import Recipe
from esm_viz.families.open_clip_private import BUILDER

_LOAD = "from safetensors.torch import load_file"
_MADE = "  # preprocessed images, (n, 3, H, W), to features"


def loading_code(recipe: Recipe, config: Mapping[str, Any], layout: Layout, whole: bool) -> list[str]:
    """Return lines after which `tower(images)` gives the features of `model.safetensors`.

    Args:
        recipe: names the architecture.
        config: the open_clip model config of its tower.
        layout: of the file.
        whole: whether it holds a text tower too.
    """
    if not layout.of_clip and layout.name != "open_clip":
        return _any_timm() if layout.name == "timm" else _any_transformers(layout)
    if layout.name in (HF.name, HF_VISION.name):
        return _transformers(layout)
    if layout.name == TIMM.name:
        return _timm(config, layout)
    return _open_clip_whole(recipe, layout) if whole else _open_clip(recipe, layout)


def library(layout: Layout) -> str:
    """Return the name of the library that loads a layout."""
    if not layout.of_clip:
        return layout.name
    return {HF.name: "transformers", HF_VISION.name: "transformers", TIMM.name: "timm"}.get(layout.name, "open_clip")


def _any_timm() -> list[str]:
    return [
        "import timm",
        "",
        'tower = timm.create_model("local-dir:.", pretrained=True)  # the folder with config.json',
        f"tower.reset_classifier(0){_MADE}",
    ]


def _any_transformers(layout: Layout) -> list[str]:
    kind = layout.title.split()[-1]
    classified = kind.endswith("ForImageClassification")
    head = ["for name, part in list(model.named_modules()):"] if classified else []
    head += ['    if name.startswith("classifier") and isinstance(part, torch.nn.Linear):'] if classified else []
    head += (
        ["        model.set_submodule(name, torch.nn.Identity())  # each task has its own classifier"]
        if classified
        else []
    )
    answer = "logits" if classified else "pooler_output"
    return [
        *(["import torch"] if classified else []),
        f"from transformers import {kind}",
        "",
        f'model = {kind}.from_pretrained(".")  # the folder with config.json',
        *head,
        "",
        "",
        f"def tower(images):{_MADE}",
        f"    return model(pixel_values=images).{answer}",
    ]


def _open_clip_whole(recipe: Recipe, layout: Layout) -> list[str]:
    config = recipe.arch_config
    outer = layout.prefix.removesuffix("visual.")
    return [
        "import open_clip" if config is None else "from open_clip.model import CLIP",
        _LOAD,
        "",
        f"model = {_named(recipe)}" if config is None else f"model = CLIP(**{config})",
        f"model.load_state_dict({_stripped(outer)})",
        f"tower = model.visual{_MADE}",
    ]


def _open_clip(recipe: Recipe, layout: Layout) -> list[str]:
    config = recipe.arch_config
    if config is None:
        head, made = "import open_clip", f"{_named(recipe)}.visual"
    else:
        head = f"from open_clip.model import CLIPVisionCfg, {BUILDER}"
        vision, quick = f"CLIPVisionCfg(**{config['vision_cfg']})", bool(config.get("quick_gelu", False))
        made = f"{BUILDER}({config['embed_dim']}, {vision}, quick_gelu={quick})"
    return [head, _LOAD, "", f"tower = {made}{_MADE}", f"tower.load_state_dict({_stripped(layout.prefix)})"]


def _named(recipe: Recipe) -> str:
    return f'open_clip.create_model("{recipe.arch}")'


def _stripped(prefix: str) -> str:
    weights = 'load_file("model.safetensors")'
    if not prefix:
        return weights
    return f'{{name.removeprefix("{prefix}"): tensor for name, tensor in {weights}.items()}}'


def _transformers(layout: Layout) -> list[str]:
    if layout.name == HF.name:
        of_images = "model.visual_projection(model.vision_model(images).pooler_output)"
        kind = "CLIPModel"
    else:
        of_images = "model(images)." + ("image_embeds" if layout.projection else "pooler_output")
        kind = "CLIPVisionModelWithProjection" if layout.projection else "CLIPVisionModel"
    return [
        f"from transformers import {kind}",
        "",
        f'model = {kind}.from_pretrained(".")  # the folder with config.json',
        "",
        "",
        f"def tower(images):{_MADE}",
        f"    return {of_images}",
    ]


def _timm(config: Mapping[str, Any], layout: Layout) -> list[str]:
    vision = CLIPVisionCfg(**config["vision_cfg"])
    eps = (vision.norm_kwargs or {}).get("eps", 1e-5)
    settings = {
        "img_size": vision.image_size,
        "patch_size": vision.patch_size,
        "embed_dim": vision.width,
        "depth": vision.layers,
        "num_heads": vision.width // vision.head_width,
        "mlp_ratio": vision.mlp_ratio,
        "pre_norm": not vision.no_ln_pre,
        "global_pool": "avg" if vision.pool_type == "avg" else "token",
        "num_classes": 0,
    }
    named = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    activation = "QuickGELU" if config.get("quick_gelu", False) else "torch.nn.GELU"
    lines = [
        "from functools import partial",
        "",
        "import torch",
        _LOAD,
        *(["from timm.layers import QuickGELU"] if activation == "QuickGELU" else []),
        "from timm.models.vision_transformer import VisionTransformer",
        "",
        f"norm, activation = partial(torch.nn.LayerNorm, eps={eps!r}), {activation}",
        f"tower = VisionTransformer({named}, norm_layer=norm, act_layer=activation)",
    ]
    if layout.projection:
        lines.append(f"tower.head = torch.nn.Linear({vision.width}, {config['embed_dim']}, bias=False)")
    return [*lines, f"tower.load_state_dict({_stripped(layout.prefix)}){_MADE}"]
