"""The open_clip models that a checkpoint's shapes fit, and the activation, which shapes do not show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import open_clip
from open_clip.model import CLIPVisionCfg

from esm_viz.core.errors import RecipeError
from esm_viz.families.model_families import architecture_of

ACTIVATION = "quick_gelu"  # key of the activation in a model config


def fitting(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return the open_clip names of towers with exactly these parameters; of equal towers the shortest name.

    Models that differ only in the text tower or in the activation count as equal.

    Args:
        shapes: shapes of a vision tower's parameters, by open_clip's names.
    """
    found: list[tuple[CLIPVisionCfg, str]] = []
    for name in sorted(open_clip.list_models(), key=lambda name: (len(name), name)):
        config = open_clip.get_model_config(name)
        if not _may_fit(config, shapes):
            continue
        vision = CLIPVisionCfg(**config["vision_cfg"])
        if any(vision == other for other, _ in found):
            continue
        try:
            fits = architecture_of(name, None).shapes == dict(shapes)
        except RecipeError:  # not a plain vision transformer
            continue
        if fits:
            found.append((vision, name))
    return tuple(name for _, name in found)


def unconfirmed(name: str) -> dict[str, Any]:
    """Return the config of an open_clip model without its activation."""
    return {key: value for key, value in open_clip.get_model_config(name).items() if key != ACTIVATION}


def confirmed(config: Mapping[str, Any], quick_gelu: bool) -> str | dict[str, Any]:
    """Return a config with the given activation, or its open_clip name if there is one."""
    whole = {**config, ACTIVATION: quick_gelu}
    names = [name for name in open_clip.list_models() if {ACTIVATION: False, **_config(name)} == whole]
    return min(names, key=len) if names else whole


def _config(name: str) -> dict[str, Any]:
    return dict(open_clip.get_model_config(name))


def _may_fit(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Compare a few sizes that exclude most models, so that few towers have to be built."""
    vision = config["vision_cfg"]
    patches, position, projection = (shapes.get(n, ()) for n in ("conv1.weight", "positional_embedding", "proj"))
    if vision.get("timm_model_name") or len(patches) != 4 or len(position) != 2 or len(projection) != 2:
        return False
    sizes = (vision.get("width"), vision.get("patch_size"), config["embed_dim"])
    return sizes == (patches[0], patches[2], projection[1])
