"""The architecture that a recipe names: CLIP's plain tower, or any network of open_clip, timm or transformers."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from esm_viz.families.architecture import Architecture
from esm_viz.families.library_models import library_model
from esm_viz.families.module_tower import ModuleTower
from esm_viz.families.vision_tower import NotPlain, PlainTower

_KEPT = 8  # architectures; building a network without weights takes up to a second


def architecture_of(arch: str, config: Mapping[str, Any] | None = None) -> Architecture:
    """Return the architecture of a recipe, without weights.

    Args:
        arch: an open_clip name; not used where there is a config.
        config: an open_clip model config, or a mapping with `library` (open_clip, timm, transformers) and that
            library's own config.

    Raises:
        RecipeError: the library does not know it, or it cannot be run block by block.
    """
    if config is None:
        return _built(arch, "")
    return _built("", json.dumps(config, sort_keys=True, default=str))


@functools.lru_cache(_KEPT)
def _built(arch: str, text: str) -> Architecture:
    config = json.loads(text) if text else None
    if config is None or config.get("library", "open_clip") == "open_clip":
        plain = {key: value for key, value in (config or {}).items() if key != "library"}
        try:
            return PlainTower(arch, plain if config is not None else None)
        except NotPlain:
            pass
    network = library_model(arch, config)
    return ModuleTower(network, config if config is not None else {"library": "open_clip", "name": arch})
