"""open_clip's private functions do what we use them for, in the releases that were tried."""

from __future__ import annotations

from importlib.metadata import version

import open_clip.model
import pytest
import torch
from open_clip.model import CLIPVisionCfg
from open_clip.transformer import VisionTransformer
from torch import nn

from esm_viz.families.open_clip_private import BUILDER, TRIED, block_input, build_vision_tower
from tests.support import tiny

CONFIG = CLIPVisionCfg(**tiny.CONFIG["vision_cfg"])


def test_the_installed_release_was_tried() -> None:
    installed = ".".join(version("open_clip_torch").split(".")[:2])
    assert installed in TRIED, f"run this module's other tests, then add {installed!r} to open_clip_private.TRIED"


def test_a_tower_is_the_one_that_a_whole_clip_of_this_config_has() -> None:
    whole = open_clip.model.CLIP(**tiny.FULL_CONFIG).visual
    tower = build_vision_tower(tiny.FULL_CONFIG["embed_dim"], CLIPVisionCfg(**tiny.FULL_CONFIG["vision_cfg"]))
    assert isinstance(tower, VisionTransformer)
    assert {name: value.shape for name, value in tower.state_dict().items()} == {
        name: value.shape for name, value in whole.state_dict().items()
    }


@pytest.mark.parametrize("quick", [False, True])
def test_a_tower_has_the_activation_that_is_asked_for(quick: bool) -> None:
    tower = build_vision_tower(tiny.CONFIG["embed_dim"], CONFIG, quick_gelu=quick)
    activation = tower.transformer.resblocks[0].mlp.gelu
    assert isinstance(activation, open_clip.transformer.QuickGELU if quick else nn.GELU)


def test_what_enters_the_first_block_is_what_the_tower_itself_gives_it() -> None:
    torch.manual_seed(0)
    tower = build_vision_tower(tiny.CONFIG["embed_dim"], CONFIG).eval()
    seen = []
    tower.transformer.resblocks[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        images = tiny.images(3, 7)
        tower(images)
        assert torch.equal(block_input(tower, images), seen[0])
    assert seen[0].shape == (3, 1 + tower.grid_size[0] * tower.grid_size[1], CONFIG.width)


def test_the_builder_that_is_printed_for_people_is_there() -> None:
    assert callable(getattr(open_clip.model, BUILDER))
