"""Which model a recipe's arch means, and what is refused before a library is asked for anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.core.errors import LayoutError, RecipeError
from esm_viz.core.recipe import parse_mapping
from esm_viz.families.model_families import architecture_of
from esm_viz.families.vision_tower import PlainTower, encode
from esm_viz.inspection.opened_files import not_read_notes
from esm_viz.project.project import Project
from tests.support.errors import says
from tests.support.tiny import relative

SIDE = 32
TIMM = {"img_size": SIDE, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
VIT = {
    "model_type": "vit",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "image_size": SIDE,
    "patch_size": 8,
}


def of_timm(name: str = "vit_base_patch16_224", **changes: Any) -> dict[str, Any]:
    return {"library": "timm", "architecture": name, "model_args": {**TIMM, **changes}}


def of_transformers(**changes: Any) -> dict[str, Any]:
    return {"library": "transformers", **VIT, **changes}


@pytest.mark.parametrize("name", open_clip.list_models())
def test_every_name_of_open_clip_has_its_blocks_and_matrices(name: str) -> None:
    config = open_clip.get_model_config(name)
    arch = architecture_of(name)
    inside = sum(torch.Size(arch.shapes[each]).numel() for each in arch.shapes if each not in arch.stem_names)
    assert sum(layer.d_out * layer.d_in for layer in arch.layers) > 0.8 * inside
    assert arch.embed_dim == config["embed_dim"]
    assert all(layer.d_out >= 2 for layer in arch.layers)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another library": ({"library": "mine"}, "arch has the library 'mine', use open_clip, timm, transformers"),
    "a name that timm does not know": (
        of_timm("vit_of_mine"),
        "timm has no model named 'vit_of_mine', correct `architecture` in arch",
    ),
    "a name on a hub": (
        of_timm("hf_hub:someone/model"),
        "timm has no model named 'hf_hub:someone/model', correct `architecture` in arch",
    ),
    "a file for timm": (
        of_timm(checkpoint_path="theirs.pth"),
        "arch gives timm 'checkpoint_path', leave it out of `model_args`",
    ),
    "a download for timm": (of_timm(pretrained=True), "arch gives timm 'pretrained', leave it out of `model_args`"),
    "a million blocks": (of_timm(depth=10**6), "arch has depth 1000000, use at most 200"),
    "a number beyond all": (
        of_transformers(hidden_size=10**12),
        "arch has hidden_size 1000000000000, use at most 1048576",
    ),
    "a type that transformers does not know": (
        of_transformers(model_type="mine"),
        "transformers cannot build this config (Unrecognized model identifier: mine. Should contain …), correct arch",
    ),
    "code of its own": (
        {"library": "transformers", "auto_map": {"AutoModel": "theirs.Model"}, "model_type": "theirs"},
        "transformers cannot build this config (Unrecognized model identifier: theirs. …), correct arch",
    ),
    "another model inside": (
        of_transformers(backbone="resnet50", use_timm_backbone=True),
        "arch has 'backbone', another model inside, give the config of one model",
    ),
    "a model of timm inside transformers": (
        of_transformers(model_type="timm_wrapper"),
        "transformers has no vision model of type 'timm_wrapper', correct `model_type` in arch",
    ),
    "a text model": (
        {"library": "transformers", "model_type": "bert"},
        "the model does not run on images of 224 pixels (…), correct arch",
    ),
    "quantised weights": (
        of_transformers(quantization_config={"load_in_8bit": True}),
        "arch has 'quantization_config', another model inside, give the config of one model",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_config_is_refused_for(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("something was looked for on a network"))
    raw, text = REFUSED[case]
    start = text.partition("…")[0]
    with pytest.raises(RecipeError) as refused:
        architecture_of("", raw)
    assert str(refused.value).startswith(start)
    assert "\n" not in str(refused.value)


def test_a_config_cannot_name_code_or_an_attention_from_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("something was looked for on a network"))
    odd = of_transformers(
        auto_map={"AutoModel": "theirs.Model"},
        _attn_implementation="someone/kernel",
        attn_implementation="someone/kernel",
    )
    assert architecture_of("", odd).shapes == architecture_of("", of_transformers()).shapes


def test_building_a_network_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    architecture_of("", of_timm(depth=3))
    assert torch.equal(torch.rand(3), expected)


def test_the_same_model_in_two_layouts_gives_the_same_merge(tmp_path: Path) -> None:
    """timm keeps q, k and v in one matrix, transformers in three; the norms and the rest are the same."""
    torch.manual_seed(1)
    models = {
        name: transformers.ViTModel(transformers.ViTConfig(**{**VIT, "layer_norm_eps": 1e-6}), False) for name in "0ab"
    }
    merged = {}
    for library in ("timm", "transformers"):
        folder = tmp_path / library
        folder.mkdir()
        for name, model in models.items():
            tensors = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
            save_file(in_timm(tensors) if library == "timm" else tensors, folder / f"{name}.safetensors")
        images = torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
        save_file({"images": images}, folder / "p.safetensors")
        arch = of_timm() if library == "timm" else of_transformers(architectures=["ViTModel"], layer_norm_eps=1e-6)
        entries = [{"name": name, "path": f"{name}.safetensors", "proxies": "p.safetensors"} for name in "ab"]
        raw = {"merge_method": "esm", "arch": arch, "base_model": {"path": "0.safetensors"}, "models": entries}
        project = Project.open(parse_mapping({**raw, "parameters": {"alpha": 0.5}}, folder))
        weights = project.materialize(project.recipe)
        merged[library] = encode(project.headers.arch.tower(weights), images)
    assert relative(merged["timm"], merged["transformers"]) < 1e-5


def in_timm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a ViT of transformers under timm's names."""
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        "layernorm.": "norm.",
    }
    inside = {
        "attention.o_proj.": "attn.proj.",
        "layernorm_before.": "norm1.",
        "layernorm_after.": "norm2.",
        "mlp.": "mlp.",
    }
    found = {}
    for name, tensor in tensors.items():
        start = next((its for its in names if name.startswith(its)), None)
        if start is not None:
            found[names[start] + name.removeprefix(start)] = tensor
            continue
        _, block, rest = name.split(".", 2)
        within = next((its for its in inside if rest.startswith(its)), None)
        if within is not None:
            found[f"blocks.{block}.{inside[within]}{rest.removeprefix(within)}"] = tensor
    for block in range(VIT["num_hidden_layers"]):
        for kind in ("weight", "bias"):
            parts = [tensors[f"layers.{block}.attention.{part}_proj.{kind}"] for part in "qkv"]
            found[f"blocks.{block}.attn.qkv.{kind}"] = torch.cat(parts)
    return found


def test_clip_s_tower_by_the_general_rule_gives_the_merge_of_its_own_pass(tmp_path: Path) -> None:
    config = transformers.CLIPVisionConfig(
        **{key: value for key, value in VIT.items() if key != "model_type"}, hidden_act="gelu", projection_dim=32
    )
    torch.manual_seed(3)
    models: dict[str, nn.Module] = {name: transformers.CLIPVisionModel(config) for name in "0ab"}
    for name, model in models.items():
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        save_file(
            {key: tensor.contiguous() for key, tensor in model.state_dict().items()}, tmp_path / f"{name}.safetensors"
        )
    images = torch.randn(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    save_file({"images": images}, tmp_path / "p.safetensors")
    vision = {"image_size": SIDE, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
    plain = {"embed_dim": 32, "quick_gelu": False, "vision_cfg": vision}
    found = {}
    for arch in (plain, {"library": "transformers", **config.to_diff_dict(), "model_type": "clip_vision_model"}):
        entries = [{"name": name, "path": f"{name}.safetensors", "proxies": "p.safetensors"} for name in "ab"]
        raw = {"merge_method": "esm", "arch": arch, "base_model": {"path": "0.safetensors"}, "models": entries}
        project = Project.open(parse_mapping({**raw, "parameters": {"alpha": 0.5}}, tmp_path))
        found[type(project.headers.arch).__name__] = encode(
            project.headers.arch.tower(project.materialize(project.recipe)), images
        )
    assert set(found) == {"PlainTower", "ModuleTower"}
    assert relative(found["ModuleTower"], found["PlainTower"]) < 2e-6


def test_an_unknown_tensor_in_a_block_is_another_model_s(tmp_path: Path) -> None:
    arch = architecture_of("", of_timm())
    state = timm.create_model("vit_base_patch16_224", num_classes=0, **TIMM).state_dict()
    tensors = {name: torch.zeros(tensor.shape) for name, tensor in state.items()}
    save_file({**tensors, "blocks.0.attn.q_norm.weight": torch.ones(16)}, tmp_path / "a.safetensors")
    with says_layout("1 tensors unknown (blocks.0.attn.q_norm.weight)"):
        Checkpoint("ants", tmp_path / "a.safetensors", layouts=arch.layout_of).judge(arch.shapes)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "net.backbone.", "module.model."])
def test_wrappers_before_the_names_are_seen(tmp_path: Path, prefix: str) -> None:
    arch = architecture_of("", of_timm())
    state = timm.create_model("vit_base_patch16_224", num_classes=0, **TIMM).state_dict()
    tensors = {f"{prefix}{name}": torch.rand(tensor.shape) for name, tensor in state.items()}
    save_file({**tensors, f"{prefix}head.weight": torch.rand(3, 32)}, tmp_path / "a.safetensors")
    checkpoint = Checkpoint("ants", tmp_path / "a.safetensors", layouts=arch.layout_of)
    facts = checkpoint.judge(arch.shapes)
    assert (facts.matched, facts.missing, len(facts.extra)) == (len(arch.shapes), (), 1)
    assert torch.equal(checkpoint.tensors(["norm.bias"])["norm.bias"], tensors[f"{prefix}norm.bias"])


def test_a_plain_tower_is_run_by_its_own_pass() -> None:
    assert isinstance(architecture_of("ViT-B-32"), PlainTower)
    assert not isinstance(architecture_of("ViT-B-16-SigLIP"), PlainTower)


def says_layout(text: str) -> Any:
    return says(LayoutError, f"ants: {text}, a.safetensors, give a timm vit_base_patch16_224 of this arch")


@pytest.mark.parametrize("order", [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("ema", "model")])
def test_an_average_of_the_weights_beside_them_is_not_mixed_up_and_said(tmp_path: Path, order: tuple[str, str]) -> None:
    arch = architecture_of("", of_timm())
    names = timm.create_model("vit_base_patch16_224", num_classes=0, **TIMM).state_dict()
    sets = {key: {name: torch.rand(tensor.shape) for name, tensor in names.items()} for key in order}
    torch.save({"epoch": 3, **sets, "optimizer": {"state": {0: {"exp_avg": torch.rand(3)}}}}, tmp_path / "a.pt")
    checkpoint = Checkpoint("ants", tmp_path / "a.pt", layouts=arch.layout_of)
    assert checkpoint.judge(arch.shapes).matched == len(arch.shapes)
    assert torch.equal(checkpoint.tensors(["norm.bias"])["norm.bias"], sets[order[0]]["norm.bias"])
    said = f"ants: the tensors under {order[0]}. are read, the same ones under {order[1]}. are not."
    assert not_read_notes([checkpoint]) == (said,)


def test_patches_are_known_where_all_blocks_read_the_same_tokens_alone() -> None:
    assert architecture_of("", of_timm()).grid == (4, 4)
    assert architecture_of("", {"library": "timm", "architecture": "hiera_tiny_224"}).grid == (0, 0)  # pools its tokens
