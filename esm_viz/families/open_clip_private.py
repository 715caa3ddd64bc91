"""The private functions of open_clip that esm_viz uses; no other module uses any.

Private names can change with any release, so `TRIED` lists the releases that this module was tested with.
"""

from __future__ import annotations

from typing import Any

import open_clip.model
from open_clip.model import CLIPVisionCfg
from open_clip.transformer import VisionTransformer
from torch import Tensor

TRIED = ("3.3",)  # open_clip's releases with which this module's tests have passed, MAJOR.MINOR
BUILDER = "_build_vision_tower"
"""Name of the function in `open_clip.model` that builds a tower; the loading code that exports show calls it too."""


def build_vision_tower(embed_dim: int, vision: CLIPVisionCfg, quick_gelu: bool = False) -> Any:
    """Return a vision tower with random weights, without a text tower.

    Raises:
        TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AssertionError, RuntimeError: the config
            is wrong; open_clip does not check it.
    """
    return getattr(open_clip.model, BUILDER)(embed_dim, vision, quick_gelu=quick_gelu)


def block_input(tower: VisionTransformer, images: Tensor) -> Tensor:
    """Return the input of a tower's first block, (n, tokens, width), for preprocessed images, (n, 3, H, W)."""
    return tower._embeds(images)
