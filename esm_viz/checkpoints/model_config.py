"""Configs beside models, converted to and from open_clip's: sizes, and the activation, which weights do not show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIPVisionCfg
from torch import nn

from esm_viz.checkpoints.layout_table import CLIP, ENCODER, HF_VISION, TIMM, TOWER, Layout
from esm_viz.checkpoints.weight_files import read_json
from esm_viz.core.errors import CheckpointError, LayoutError, one_line

CONFIG = "config.json"
OPEN_CLIP_CONFIG = "open_clip_config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files that transformers writes about the images of a model."""
_EPS = 1e-5  # of open_clip's norms
_ACTIVATIONS = {"quick_gelu": True, "gelu": False}
# Defaults of transformers, which its configs leave out.
_HF_DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": _EPS,
}
_TIMM_NAME = re.compile(r"vit_\w{1,80}")
_TIMM_SIZES = frozenset(
    "img_size patch_size embed_dim depth num_heads mlp_ratio qkv_bias pre_norm global_pool fc_norm act_layer".split()
)
"""The arguments of a config that are passed to timm; others could name files that timm would read."""
_MOST_BLOCKS = 200


def config_beside(path: Path, layout: Layout, of_clip: bool, title: str) -> dict[str, Any] | None:
    """Return the config beside a model's weights, as an open_clip model config; None without one.

    Args:
        path: path of the weights.
        layout: layout of the weights, which decides the kind of config to look for.
        of_clip: whether the weights hold a whole tower of CLIP.
        title: name of the model, for error messages.

    Raises:
        CheckpointError: the config cannot be read.
        LayoutError: it is the config of another kind of model.
    """
    ours = layout.name in (TOWER.name, CLIP.name, ENCODER.name, "open_clip")
    library = _library_config(path, layout, of_clip, title)
    if library is not None:
        return library
    beside = path.with_name(OPEN_CLIP_CONFIG if ours else CONFIG)
    if not beside.is_file():
        return None
    raw = read_json(beside, title)
    try:
        if ours:
            found = raw.get("model_cfg", raw)
            if not isinstance(found.get("vision_cfg"), dict) or "embed_dim" not in found:
                return None
            return {"quick_gelu": False, **found}  # open_clip leaves its default out of the configs that it writes
        return _from_timm(raw, layout) if layout.name == TIMM.name else _from_hf(raw, layout)
    except LayoutError as error:
        raise error.placed(beside.name, title) from error
    except (TypeError, ValueError, AttributeError, ArithmeticError, KeyError, RuntimeError, AssertionError) as error:
        raise CheckpointError(
            "its config has values of the wrong kind", "download it again", CONFIG, subject=title
        ) from error


def _library_config(path: Path, layout: Layout, of_clip: bool, title: str) -> dict[str, Any] | None:
    """Return the config beside a model of timm or transformers that is not stored as one of CLIP's towers.

    Words that name no size (class names, training settings) are left out, so that fine-tunes of one model agree.

    Raises:
        CheckpointError: the config cannot be read.
    """
    beside = path.with_name(CONFIG)
    if not beside.is_file():
        return None
    raw = read_json(beside, title)
    architecture = raw.get("architecture")
    if isinstance(architecture, str) and "model_type" not in raw:
        if layout.name == TIMM.name and layout.like_clip:
            return None
        known = {key: raw[key] for key in ("architecture", "global_pool", "model_args") if raw.get(key) is not None}
        said = raw.get("pretrained_cfg")
        kept = {key: said[key] for key in ("input_size", "classifier") if key in said} if isinstance(said, dict) else {}
        return {"library": "timm", **known, **({"pretrained_cfg": kept} if kept else {})}
    if not of_clip and isinstance(raw.get("model_type"), str) and raw["model_type"] not in _OF_CLIP:
        left_out = {key for key in raw if key in _NO_SIZES or key.startswith("_")}
        return {"library": "transformers", **{key: value for key, value in raw.items() if key not in left_out}}
    return None


_OF_CLIP = ("clip", "clip_vision_model")
_NO_SIZES = {
    *("id2label", "label2id", "num_labels", "transformers_version", "torch_dtype", "dtype", "problem_type", "auto_map"),
    *("finetuning_task", "license", "tags"),
}


def config_classes(path: Path, rows: int) -> tuple[str, ...]:
    """Return the class names in the config beside a model's weights, in the order of its classifier's rows.

    transformers writes them as `id2label`, timm as `label_names`; empty if there are none, or not one for each row.

    Args:
        path: path of the weights.
        rows: rows of the classifier.
    """
    try:
        raw = read_json(path.with_name(CONFIG), "")
    except CheckpointError:
        return ()
    by_row, listed = raw.get("id2label"), raw.get("label_names")
    if isinstance(by_row, dict):
        listed = [by_row.get(str(row)) for row in range(rows)]
    if not isinstance(listed, list) or len(listed) != rows or not all(isinstance(name, str) for name in listed):
        return ()
    unnamed = [f"LABEL_{row}" for row in range(rows)]  # what transformers writes for classes without names
    return () if listed == unnamed else tuple(one_line(name) for name in listed)


def kind_of_config(path: Path) -> str:
    """Say in words which kind of model the config beside weights describes; empty without a readable config.

    Args:
        path: path of the weights, a file or a folder.
    """
    beside = path / CONFIG if path.is_dir() else path.with_name(CONFIG)
    try:
        raw = read_json(beside, "")
    except CheckpointError:
        return ""
    kind = raw.get("model_type") or raw.get("architecture") or raw.get("_target_")
    return f"{CONFIG} beside it is that of {kind!r:.60}" if isinstance(kind, str) else ""


def files_beside(layout: Layout, config: Mapping[str, Any], base: Path, own: bool) -> dict[str, dict[str, Any]]:
    """Return the configs to write beside a merged model, by name of the file, so that its library opens the folder.

    Args:
        layout: layout of the merged model.
        config: the model config of its tower.
        base: path of the base's weights.
        own: whether the layout is the base's own; then its configs and processors are kept.

    Raises:
        CheckpointError: a config of the base cannot be read.
    """
    kept = {
        name: read_json(base.with_name(name), "base")
        for name in (CONFIG, OPEN_CLIP_CONFIG, *PROCESSORS)
        if own and not _renamed(layout) and base.with_name(name).is_file()
    }
    if layout.name != HF_VISION.name:
        return kept
    processors = {
        name: read_json(base.with_name(name), "base") for name in PROCESSORS if base.with_name(name).is_file()
    }
    return {CONFIG: _to_hf(config, bool(layout.projection)), **(processors if own else {})}


def _renamed(layout: Layout) -> bool:
    """Say whether a CLIP tower is written in another library's names, for which the base's configs say too much."""
    return layout.of_clip and layout.name in (HF_VISION.name, TIMM.name)


def _to_hf(config: Mapping[str, Any], projected: bool) -> dict[str, Any]:
    """Return the transformers config of a CLIP vision model, with all sizes, since defaults may change."""
    vision = CLIPVisionCfg(**config["vision_cfg"])
    return {
        "architectures": ["CLIPVisionModelWithProjection" if projected else "CLIPVisionModel"],
        "model_type": "clip_vision_model",
        "hidden_size": vision.width,
        "intermediate_size": int(vision.width * vision.mlp_ratio),
        "projection_dim": config["embed_dim"],
        "num_hidden_layers": vision.layers,
        "num_attention_heads": vision.width // vision.head_width,
        "num_channels": 3,
        "image_size": _side(vision.image_size),
        "patch_size": _side(vision.patch_size),
        "hidden_act": "quick_gelu" if config.get("quick_gelu", False) else "gelu",
        "layer_norm_eps": (vision.norm_kwargs or {}).get("eps", _EPS),
    }


def _side(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else size[0]


def _from_hf(raw: Mapping[str, Any], layout: Layout) -> dict[str, Any] | None:
    """Read transformers' config of a CLIPModel, which contains a vision config, or of a vision model."""
    kind = raw.get("model_type")
    if kind not in ("clip", "clip_vision_model"):
        raise LayoutError(f"the config is that of {kind!r:.40}, not of CLIP", "give a CLIP vision model")
    vision = raw.get("vision_config", {}) if kind == "clip" else raw
    said = {**_HF_DEFAULTS, **{key: vision[key] for key in _HF_DEFAULTS if vision.get(key) is not None}}
    width, activation = int(said["hidden_size"]), said["hidden_act"]
    if activation not in _ACTIVATIONS or said["num_channels"] != 3:
        raise LayoutError(f"the activation is {activation!r:.40}", "give a model with gelu or quick_gelu")
    joint = raw.get("projection_dim") or _HF_DEFAULTS["projection_dim"] if kind == "clip" else said["projection_dim"]
    return _config(
        embed_dim=int(joint) if layout.projection else width,
        quick_gelu=_ACTIVATIONS[activation],
        image_size=int(said["image_size"]),
        layers=int(said["num_hidden_layers"]),
        width=width,
        head_width=width // int(said["num_attention_heads"]),
        patch_size=int(said["patch_size"]),
        mlp_ratio=int(said["intermediate_size"]) / width,
        eps=float(said["layer_norm_eps"]),
    )


def _from_timm(raw: Mapping[str, Any], layout: Layout) -> dict[str, Any] | None:
    """Return the open_clip config of a timm model, which is built without weights to find its sizes."""
    import timm  # imported late: slow to import and rarely needed

    name = raw.get("architecture") or raw.get("pretrained_cfg", {}).get("architecture")
    arguments = {key: value for key, value in (raw.get("model_args") or {}).items() if key in _TIMM_SIZES}
    if not isinstance(name, str) or not _TIMM_NAME.fullmatch(name) or not timm.is_model(name):
        raise LayoutError(f"timm has no ViT named {name!r:.60}", "give a plain ViT of timm")
    size = (raw.get("pretrained_cfg") or {}).get("input_size", (3, 224, 224))
    if int(arguments.get("depth", 0)) > _MOST_BLOCKS or int(arguments.get("embed_dim", 0)) > 1 << 16:
        raise LayoutError("the model is absurdly large", "give a plain ViT of timm")
    with torch.device("meta"):
        model: Any = timm.create_model(
            name, pretrained=False, **{"num_classes": 0, "img_size": int(size[-1]), **arguments}
        )
    block = model.blocks[0]
    rows = int(raw.get("num_classes") or (raw.get("pretrained_cfg") or {}).get("num_classes") or model.embed_dim)
    found = _config(
        embed_dim=rows if layout.projection else model.embed_dim,
        quick_gelu=_is_quick(block.mlp.act),
        image_size=int(model.patch_embed.img_size[0]),
        layers=len(model.blocks),
        width=model.embed_dim,
        head_width=model.embed_dim // block.attn.num_heads,
        patch_size=int(model.patch_embed.patch_size[0]),
        mlp_ratio=block.mlp.fc1.out_features / model.embed_dim,
        eps=block.norm1.eps,
    )
    found["vision_cfg"] |= hints(layout, no_ln_pre=not hasattr(model.norm_pre, "weight"))
    return found


def _is_quick(activation: nn.Module) -> bool:
    kind = type(activation).__name__
    if kind not in ("QuickGELU", "GELU"):
        raise LayoutError(f"the activation is {kind}", "give a model with GELU or QuickGELU")
    return kind == "QuickGELU"


def hints(layout: Layout, no_ln_pre: bool) -> dict[str, Any]:
    """Return the parts of an open_clip vision config that follow from the names in a file."""
    pooled = layout.name == TIMM.name and any(
        name.startswith("fc_norm") for name in layout.stem["ln_post.weight"].names
    )
    average = {"pool_type": "avg", "final_ln_after_pool": True} if pooled else {}
    return average | ({"no_ln_pre": True} if no_ln_pre else {})


def _config(*, embed_dim: int, quick_gelu: bool, eps: float, mlp_ratio: float, **vision: Any) -> dict[str, Any]:
    """Return an open_clip model config without values that equal open_clip's defaults."""
    if mlp_ratio != 4.0:
        vision["mlp_ratio"] = mlp_ratio
    if eps != _EPS:
        vision["norm_kwargs"] = {"eps": eps}
    return {"embed_dim": embed_dim, "quick_gelu": quick_gelu, "vision_cfg": vision}
