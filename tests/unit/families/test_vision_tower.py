"""Our tower is open_clip's tower: features, the inputs that hooks see, and which configs are refused."""

from __future__ import annotations

import copy
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esm_viz.core.errors import Cancelled, RecipeError
from esm_viz.families import vision_tower as module
from esm_viz.families.model_families import architecture_of
from esm_viz.families.self_attention import SelfAttention
from esm_viz.families.vision_tower import NotPlain, PlainTower, encode
from tests.support.errors import says
from tests.support.tiny import CONFIG, EMBED, SIDE, base_weights, filled, images, relative

WEIGHTS = base_weights(1)
PICTURES = images(7, 5)


def config(**vision: Any) -> dict[str, Any]:
    changed = copy.deepcopy(CONFIG)
    changed["vision_cfg"].update(vision)
    return changed


@pytest.mark.parametrize("quick", [False, True])
def test_features_are_open_clips(quick: bool) -> None:
    raw = {**CONFIG, "quick_gelu": quick}
    arch = architecture_of("", raw)
    with torch.inference_mode():
        truth = filled(WEIGHTS, raw)(PICTURES)
    assert relative(encode(arch.tower(WEIGHTS), PICTURES), truth) < 1e-6  # float32, sums in another order
    assert arch.describe() == ("QuickGELU" if quick else "GELU")


def test_the_two_activations_give_different_features() -> None:
    with torch.inference_mode():
        quick, plain = (filled(WEIGHTS, {**CONFIG, "quick_gelu": on})(PICTURES) for on in (True, False))
    assert relative(quick, plain) > 1e-4  # or the test above would not see them mixed up


def test_features_do_not_depend_on_the_batch_they_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = architecture_of("", CONFIG).tower(WEIGHTS)
    whole = encode(tower, PICTURES)
    monkeypatch.setattr(module, "BATCH", 2)
    assert relative(encode(tower, PICTURES), whole) < 1e-6  # float32


def test_the_boundary_is_told_after_every_batch_and_may_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    seen: list[int] = []

    def stop(done: int) -> None:
        seen.append(done)
        if done >= 6:
            raise Cancelled

    with says(Cancelled, "stopped, start it again to go on"):
        encode(architecture_of("", CONFIG).tower(WEIGHTS), PICTURES, stop)
    assert seen == [3, 6]


@pytest.mark.parametrize("quick", [False, True])
def test_blocks_run_one_by_one_see_the_inputs_that_a_hand_made_forward_pass_has(quick: bool) -> None:
    raw = {**CONFIG, "quick_gelu": quick}
    arch = architecture_of("", raw)
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        stream = arch.embed({name: WEIGHTS[name] for name in arch.stem_names}, PICTURES)
        for block in range(arch.blocks):
            weights = {name: WEIGHTS[name] for name in arch.block_names(block)}
            stream = arch.run_block(block, weights, stream, lambda name, rows: seen.update({name: rows.clone()}))
    truth = inputs_by_hand(quick)
    assert set(seen) == {layer.name for layer in arch.layers} == set(truth)
    for name, rows in truth.items():
        assert relative(seen[name], rows) < 1e-6  # float32


def inputs_by_hand(quick: bool) -> dict[str, Tensor]:
    """Run the tower with nothing but products, softmax and norms, in float64, and keep every matrix' input."""
    w = {name: tensor.double() for name, tensor in WEIGHTS.items()}
    x = F.conv2d(PICTURES.double(), w["conv1.weight"], stride=8).flatten(2).mT
    x = torch.cat([w["class_embedding"].expand(len(x), 1, -1), x], 1) + w["positional_embedding"]
    x = F.layer_norm(x, (16,), w["ln_pre.weight"], w["ln_pre.bias"])
    inputs = {}
    for block in range(2):
        at = f"transformer.resblocks.{block}"
        y = F.layer_norm(x, (16,), w[f"{at}.ln_1.weight"], w[f"{at}.ln_1.bias"])
        inputs[f"{at}.attn.in_proj_weight"] = y
        q, k, v = (y @ w[f"{at}.attn.in_proj_weight"].mT + w[f"{at}.attn.in_proj_bias"]).chunk(3, -1)
        heads = []
        for start in (0, 8):
            head = [part[..., start : start + 8] for part in (q, k, v)]
            heads.append(torch.softmax(head[0] @ head[1].mT / 8**0.5, -1) @ head[2])
        inputs[f"{at}.attn.out_proj.weight"] = torch.cat(heads, -1)
        x = x + torch.cat(heads, -1) @ w[f"{at}.attn.out_proj.weight"].mT + w[f"{at}.attn.out_proj.bias"]
        y = F.layer_norm(x, (16,), w[f"{at}.ln_2.weight"], w[f"{at}.ln_2.bias"])
        inputs[f"{at}.mlp.c_fc.weight"] = y
        y = y @ w[f"{at}.mlp.c_fc.weight"].mT + w[f"{at}.mlp.c_fc.bias"]
        y = y * torch.sigmoid(1.702 * y) if quick else F.gelu(y)
        inputs[f"{at}.mlp.c_proj.weight"] = y
        x = x + y @ w[f"{at}.mlp.c_proj.weight"].mT + w[f"{at}.mlp.c_proj.bias"]
    return inputs


def test_blocks_run_one_by_one_end_where_the_whole_tower_ends() -> None:
    arch = architecture_of("", CONFIG)
    tower = arch.tower(WEIGHTS)
    with torch.inference_mode():
        stream = arch.embed({name: WEIGHTS[name] for name in arch.stem_names}, PICTURES)
        for block in range(arch.blocks):
            weights = {name: WEIGHTS[name] for name in arch.block_names(block)}
            stream = arch.run_block(block, weights, stream, lambda name, rows: None)
        features = tower._pool(stream)[0] @ tower.proj
    assert relative(features, encode(tower, PICTURES)) < 1e-6  # float32


def test_layers_come_by_family_then_block_with_their_shapes() -> None:
    layers = architecture_of("", CONFIG).layers
    assert [(layer.family, layer.block) for layer in layers] == [
        (family, block) for family in ("in_proj", "c_fc", "c_proj", "out_proj") for block in (0, 1)
    ]
    assert [(layer.d_out, layer.d_in) for layer in layers[::2]] == [(48, 16), (64, 16), (16, 64), (16, 16)]


def test_shapes_are_those_of_open_clips_own_state_dict() -> None:
    arch = architecture_of("", CONFIG)
    assert arch.shapes == {name: tuple(tensor.shape) for name, tensor in filled(WEIGHTS).state_dict().items()}
    assert (arch.image_size, arch.embed_dim, arch.title) == (SIDE, EMBED, "ViT 2 x 16")


def test_a_named_architecture_is_open_clips() -> None:
    arch = architecture_of("ViT-B-32-quickgelu", None)
    assert (arch.title, arch.describe(), arch.image_size, arch.embed_dim) == (
        "ViT-B-32-quickgelu",
        "QuickGELU",
        224,
        512,
    )
    assert len(arch.layers) == 4 * 12
    assert arch.config == open_clip.get_model_config("ViT-B-32-quickgelu")


def test_hooks_and_modules_of_one_tower_are_not_another_ones() -> None:
    arch = architecture_of("", CONFIG)
    first, second = (arch.tower(WEIGHTS) for _ in range(2))
    seen: list[str] = []
    first.transformer.resblocks[0].mlp.c_fc.register_forward_pre_hook(lambda *_: seen.append("first"))
    first.transformer.resblocks[1].mlp = nn.Identity()
    found = encode(second, PICTURES)
    assert seen == []
    assert torch.equal(found, encode(arch.tower(WEIGHTS), PICTURES))
    assert not torch.equal(encode(first, PICTURES), found)
    assert seen == ["first"]


def test_towers_of_one_architecture_do_not_share_weights() -> None:
    arch = architecture_of("", CONFIG)
    one = arch.tower(WEIGHTS)
    before = encode(one, PICTURES)
    arch.tower({name: torch.zeros_like(tensor) for name, tensor in WEIGHTS.items()})
    assert torch.equal(encode(one, PICTURES), before)


NO_CONFIG = "arch is not an open_clip model config, give embed_dim, vision_cfg, quick_gelu"
NO_VIT = "arch has no plain vision transformer, use a ViT of open_clip"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no vision": ({"embed_dim": 8}, NO_CONFIG),
    "an unknown key": (config(colour="red"), NO_CONFIG),
    "a word for a number": (config(width="wide"), NO_CONFIG),
    "a width of nothing": (config(head_width=0), NO_CONFIG),
    "a list for a number": (config(layers=[1]), NO_VIT),
    "a number beyond all": (config(ls_init_value=10**20), NO_CONFIG),
    "a number for a name": (config(act_kwargs=3), NO_CONFIG),
    "a model of another library": (config(timm_model_name="vit_tiny_patch16_224", timm_model_pretrained=True), NO_VIT),
    "a negative width": (config(width=-16), NO_CONFIG),
    "a ResNet": (config(layers=[1, 1, 1, 1], width=16, head_width=8), NO_VIT),
    "tokens beside the features": (config(output_tokens=True), NO_VIT),
    "images that are not square": (
        config(image_size=[16, 32]),
        "arch reads 16 x 32 images, use a ViT of square images",
    ),
    "more blocks than any tower has": (config(layers=10**6), "arch has 1000000 blocks, use at most 200"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_config_is_refused_for(case: str) -> None:
    raw, text = REFUSED[case]
    with says(NotPlain if text == NO_VIT else RecipeError, text):
        PlainTower("", raw)


def test_a_name_that_open_clip_does_not_know_is_refused() -> None:
    text = "open_clip knows no model named 'ViT-Z', use a name of open_clip, or give its config"
    with says(RecipeError, text):
        architecture_of("ViT-Z", None)


def test_attention_takes_only_the_kind_that_open_clip_builds() -> None:
    with pytest.raises(ValueError, match=r"^expected a batch-first attention with fused projections$"):
        SelfAttention(nn.MultiheadAttention(8, 2, batch_first=False))


def test_attention_follows_a_mask() -> None:
    original = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x, mask = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1)), torch.full((5, 5), -torch.inf).triu(1)
    with torch.inference_mode():
        truth = original(x, x, x, attn_mask=mask, need_weights=False)[0]
        assert relative(SelfAttention(original)(x, x, x, attn_mask=mask)[0], truth) < 1e-6  # float32
