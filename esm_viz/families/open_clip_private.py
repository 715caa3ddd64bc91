"""What open_clip keeps to itself and we need all the same; no other module names it.

Names of this kind can change with any release, so the tests of this module say which ones they were tried with.
"""

from __future__ import annotations

from typing import Any

import open_clip.model
from open_clip.model import CLIPVisionCfg
from open_clip.transformer import VisionTransformer
from torch import Tensor

TRIED = ("3.3",)  # open_clip's releases with which this module's tests have passed, MAJOR.MINOR
BUILDER = "_build_vision_tower"
"""The name, in `open_clip.model`, of the function that builds a tower; code that we print for people calls it too."""


def build_vision_tower(embed_dim: int, vision: CLIPVisionCfg, quick_gelu: bool = False) -> Any:
    """Return a vision tower with random weights, without the text tower that open_clip's models come with.

    Raises:
        TypeError, ValueError, ArithmeticError, LookupError, AttributeError, AssertionError, RuntimeError: the config
            makes no tower; open_clip checks nothing beforehand.
    """
    return getattr(open_clip.model, BUILDER)(embed_dim, vision, quick_gelu=quick_gelu)


def block_input(tower: VisionTransformer, images: Tensor) -> Tensor:
    """Return what enters a tower's first block, (n, tokens, width), of preprocessed images, (n, 3, H, W)."""
    return tower._embeds(images)
