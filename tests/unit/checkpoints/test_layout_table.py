"""Layouts: models made by open_clip, transformers and timm themselves are towers with the same features, and back."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from esm_viz.checkpoints.atomic_write import sha256_tensors
from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.checkpoints.layout_table import CLIP, ENCODER, HF, HF_VISION, LAYOUTS, TIMM, TOWER, Layout, layout_of
from esm_viz.core.errors import CheckpointError, LayoutError, RecipeError, ShapeMismatch
from esm_viz.core.recipe import parse_mapping
from esm_viz.families.model_families import architecture_of
from esm_viz.families.vision_tower import encode
from esm_viz.families.zeroshot_head import head_from_words
from esm_viz.inspection.opened_files import open_headers
from esm_viz.project.project import Project
from tests.support.errors import says
from tests.support.tiny import CONFIG, FULL_CONFIG, base_weights, full_clip, mapping, normal, relative, write_project

WEIGHTS = base_weights()
ARCH = architecture_of("", CONFIG)
WIDTH, SIDE, PATCH, JOINT = 32, 32, 8, 24
CLOSE = 1e-5  # float32, sums in another order
IMAGES = normal(3, 3, SIDE, SIDE, seed=5, dtype=torch.float32)


def stirred(model: nn.Module, seed: int = 0) -> nn.Module:
    """Return a model none of whose parameters is zero or one."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draws), alpha=0.05)
    return model.eval()


def features(checkpoint: Checkpoint, images: Tensor = IMAGES, config: Mapping[str, Any] | None = None) -> Tensor:
    """Return what our tower says of images: its architecture from the file's neighbours, its weights from the file."""
    config = config or checkpoint.config()
    assert config is not None
    arch = architecture_of("", config)
    checkpoint.judge(arch.shapes)
    assert checkpoint.tower_shapes() == arch.shapes
    checkpoint.verify(arch.shapes)
    return encode(arch.tower(checkpoint.tensors(arch.shapes, torch.float32)), images)


# open_clip.


@pytest.mark.parametrize("part", ["whole", "tower"])
def test_open_clips_own_models(tmp_path: Path, part: str) -> None:
    torch.manual_seed(1)
    model = stirred(open_clip.CLIP(**FULL_CONFIG))
    state = model.state_dict() if part == "whole" else model.visual.state_dict()
    torch.save(state, tmp_path / "open_clip_pytorch_model.bin")
    said = {"model_cfg": FULL_CONFIG, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(said), encoding="utf-8")
    checkpoint = Checkpoint("ants", tmp_path)
    assert checkpoint.layout == (CLIP if part == "whole" else TOWER)
    pictures = normal(3, 3, 16, 16, seed=6, dtype=torch.float32)
    with torch.inference_mode():
        assert relative(features(checkpoint, pictures), model.encode_image(pictures)) < CLOSE


# transformers, imported once, as it takes seconds.


@pytest.fixture(scope="module")
def transformers() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it says while it is imported
        import transformers
    transformers.utils.logging.disable_progress_bar()
    return transformers


def vision(**changes: object) -> dict[str, Any]:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {**sizes, "image_size": SIDE, "patch_size": PATCH, "projection_dim": JOINT, **changes}


def hugging_face(transformers: Any, kind: str, **changes: object) -> nn.Module:
    torch.manual_seed(2)
    if kind == "CLIPModel":
        text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.CLIPConfig(
            vision_config=vision(**changes), text_config={**text, "vocab_size": 50}, projection_dim=JOINT
        )
    else:
        config = transformers.CLIPVisionConfig(**vision(**changes))
    return stirred(getattr(transformers, kind)(config))


def said_by(model: nn.Module) -> Tensor:
    """Return transformers' own features: projected where the model projects."""
    with torch.inference_mode():
        pooled = getattr(model, "vision_model", model)(IMAGES).pooler_output
        return model.visual_projection(pooled) if hasattr(model, "visual_projection") else pooled


# Text towers beside vision towers.


def test_words_mean_what_transformers_own_text_tower_makes_of_them(tmp_path: Path, transformers: Any) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 49408, "max_position_embeddings": 12, "bos_token_id": 49406, "eos_token_id": 49407}
    config = transformers.CLIPConfig(vision_config={**sizes, "image_size": 16}, text_config=text, projection_dim=8)
    model = stirred(transformers.CLIPModel(config))
    model.save_pretrained(tmp_path)
    checkpoint = Checkpoint("base", tmp_path)
    assert checkpoint.has_text
    head = head_from_words(FULL_CONFIG, checkpoint.text_tower(), ("ant", "big bee"), ("a photo of a {}.",))
    tokens = SimpleTokenizer(context_length=12)(["a photo of a ant.", "a photo of a big bee."])
    with torch.inference_mode():
        own = model.text_projection(model.text_model(tokens).pooler_output)
    assert relative(head.weight, torch.nn.functional.normalize(own, dim=-1)) < CLOSE


@pytest.mark.parametrize("outer", ["", "model."])
def test_a_text_tower_has_open_clips_names_whatever_stands_before_them(tmp_path: Path, outer: str) -> None:
    state = full_clip(WEIGHTS)
    save_file({outer + name: tensor for name, tensor in state.items()}, tmp_path / "base.safetensors")
    text = Checkpoint("base", tmp_path / "base.safetensors").text_tower()
    assert text.keys() == {name for name in state if not name.startswith("visual.")}
    assert all(torch.equal(tensor, state[name]) for name, tensor in text.items())


def test_a_vision_tower_alone_has_no_text_tower(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "base.safetensors")
    checkpoint = Checkpoint("base", tmp_path / "base.safetensors")
    assert not checkpoint.has_text
    assert checkpoint.text_tower() == {}


def test_the_text_tower_is_read_once_for_the_words_of_all_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path)
    state = {f"model.{name}": tensor for name, tensor in full_clip(WEIGHTS).items()}
    save_file(state, tmp_path / "base.safetensors")
    raw = {**mapping(), "arch": FULL_CONFIG}
    for model in raw["models"]:
        model["head"] = {"classes": ["ant", "bee", "cat", "dog"], "templates": ["a photo of a {}."]}
    read = []
    own = Checkpoint.text_tower
    monkeypatch.setattr(Checkpoint, "text_tower", lambda self: read.append(self.title) or own(self))
    opened = open_headers(parse_mapping(raw, tmp_path))
    assert read == ["base"]
    assert len(opened.heads) == len(raw["models"])


MODELS = {"CLIPModel": HF, "CLIPVisionModelWithProjection": HF_VISION, "CLIPVisionModel": HF_VISION}


@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("kind", MODELS)
def test_transformers_own_models(tmp_path: Path, transformers: Any, kind: str, act: str) -> None:
    model = hugging_face(transformers, kind, hidden_act=act, layer_norm_eps=1e-6)
    model.save_pretrained(tmp_path)
    checkpoint = Checkpoint("ants", tmp_path)
    assert (checkpoint.layout.name, checkpoint.layout.title) == (MODELS[kind].name, MODELS[kind].title)
    assert checkpoint.config()["quick_gelu"] is (act == "quick_gelu")
    assert relative(features(checkpoint), said_by(model)) < CLOSE


@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
def test_the_activation_that_a_config_says_matters(tmp_path: Path, transformers: Any, act: str) -> None:
    model = hugging_face(transformers, "CLIPVisionModel", hidden_act=act)
    model.save_pretrained(tmp_path)
    checkpoint = Checkpoint("ants", tmp_path)
    other = {**checkpoint.config(), "quick_gelu": act != "quick_gelu"}
    assert relative(features(checkpoint, config=other), said_by(model)) > 100 * CLOSE


def test_a_model_in_shards(tmp_path: Path, transformers: Any) -> None:
    model = hugging_face(transformers, "CLIPModel")
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert relative(features(Checkpoint("ants", tmp_path)), said_by(model)) < CLOSE
    assert relative(features(Checkpoint("ants", tmp_path / "model.safetensors.index.json")), said_by(model)) < CLOSE


@pytest.mark.parametrize("prefix", ["", "vision_model.", "clip.vision_model."])
def test_a_vision_model_with_and_without_prefixes(tmp_path: Path, transformers: Any, prefix: str) -> None:
    model = hugging_face(transformers, "CLIPVisionModelWithProjection")
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    outer = prefix.removesuffix("vision_model.")
    renamed = {
        prefix + name.removeprefix("vision_model.") if "projection" not in name else outer + name: tensor
        for name, tensor in state.items()
    }
    save_file(renamed, tmp_path / "model.safetensors")
    checkpoint = Checkpoint("ants", tmp_path)
    assert (checkpoint.layout.name, checkpoint.layout.prefix) == ("hf_vision", prefix)
    assert relative(features(checkpoint), said_by(model)) < CLOSE


# timm.

PLAIN = partial(nn.LayerNorm, eps=1e-6)
SMALL = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": 2, "num_heads": 4}
TIMM_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("vit_base_patch16_224", {"num_classes": 0}),
    "with a classifier": ("vit_base_patch16_224", {"num_classes": 7}),
    "CLIP's, with its projection": ("vit_base_patch16_clip_224", {"num_classes": JOINT}),
    "CLIP's, QuickGELU": ("vit_base_patch16_clip_quickgelu_224", {"num_classes": 0}),
    "average": ("vit_base_patch16_224", {"num_classes": 7, "global_pool": "avg"}),
    "other ratio": ("vit_base_patch16_224", {"num_classes": 0, "mlp_ratio": 2.5}),
}


def timm_model(case: str) -> nn.Module:
    name, changes = TIMM_MODELS[case]
    torch.manual_seed(3)
    model = stirred(timm.create_model(name, **{**SMALL, **changes}))
    if "projection" in case:
        model.head.bias.data.zero_()  # as timm makes it of CLIP's weights
    return model


@pytest.mark.parametrize("case", TIMM_MODELS)
def test_timms_own_models(tmp_path: Path, case: str) -> None:
    model = timm_model(case)
    timm.models.save_for_hf(model, tmp_path, model_args={**SMALL, **TIMM_MODELS[case][1]}, safe_serialization=True)
    checkpoint = Checkpoint("ants", tmp_path)
    config = checkpoint.config()
    if "CLIP" in case:
        assert (checkpoint.layout.name, checkpoint.layout.title) == ("timm", "timm ViT")
    else:
        checkpoint = Checkpoint("ants", tmp_path, layouts=architecture_of("", config).layout_of)
        assert (checkpoint.layout.name, checkpoint.layout.title) == ("timm", "timm vit_base_patch16_224")
    with torch.inference_mode():
        seen = model.forward_head(model.forward_features(IMAGES), pre_logits="projection" not in case)
    if "projection" in case:  # sizes of no CLIP that there is, so the recipe's arch has to say it
        config = {**config, "embed_dim": JOINT}
        checkpoint.facts(architecture_of("", config).shapes)
    assert relative(features(checkpoint, config=config), seen) < CLOSE


def test_a_timm_projection_with_a_bias_is_no_projection_of_clip(tmp_path: Path) -> None:
    model = timm_model("CLIP's, with its projection")
    model.head.bias.data[3] = 0.5
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    vision_cfg = {"image_size": SIDE, "patch_size": PATCH, "width": WIDTH, "layers": 2, "head_width": 8}
    arch = architecture_of("", {"embed_dim": JOINT, "quick_gelu": False, "vision_cfg": vision_cfg})
    checkpoint = Checkpoint("ants", tmp_path / "a.safetensors")
    checkpoint.judge(arch.shapes)
    with says(LayoutError, "ants: its projection has a bias, which CLIP's has not, a.safetensors, set it to 0"):
        checkpoint.tensors(arch.shapes)


def test_a_config_cannot_make_timm_read_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({n: t.contiguous() for n, t in TIMM.written(WEIGHTS).items()}, tmp_path / "model.safetensors")
    said = {"architecture": "vit_tiny_patch16_224", "model_args": {"depth": 2, "checkpoint_path": "theirs.pth"}}
    (tmp_path / "config.json").write_text(json.dumps(said), encoding="utf-8")
    monkeypatch.setattr("timm.models._factory.load_checkpoint", lambda *_, **__: pytest.fail("timm read a file"))
    assert Checkpoint("ants", tmp_path).config()["vision_cfg"]["layers"] == 2
    with says(RecipeError, "arch gives timm 'checkpoint_path', leave it out of `model_args`"):
        architecture_of("", {"library": "timm", **said})


TIMM_REFUSED = {
    "register tokens": {"reg_tokens": 4},
    "layer scale": {"init_values": 1e-4},
    "norms of its queries": {"qk_norm": True},
}


@pytest.mark.parametrize("odd", TIMM_REFUSED)
def test_a_vit_that_is_no_plain_one_is_named(tmp_path: Path, odd: str) -> None:
    model = timm.models.vision_transformer.VisionTransformer(**SMALL, num_classes=0, **TIMM_REFUSED[odd])
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    with says(LayoutError, f"ants: a ViT with {odd}, which CLIP's has not, a.safetensors, merge plain ViTs"):
        Checkpoint("ants", tmp_path / "a.safetensors").judge(ARCH.shapes)


# Written and read again.


def variant(layout: Layout, **changes: object) -> Layout:
    return dataclasses.replace(layout, **changes)


IDENTITY = {**WEIGHTS, "proj": torch.eye(16)}
WRITTEN: dict[str, tuple[Layout, dict[str, Tensor], dict[str, Tensor]]] = {
    "tower": (TOWER, WEIGHTS, {}),
    "clip": (CLIP, WEIGHTS, {"logit_scale": torch.zeros(())}),
    "image_encoder": (ENCODER, WEIGHTS, {}),
    "hf": (HF, WEIGHTS, {"text_model.embeddings.position_ids": torch.zeros(1, 4, dtype=torch.int64)}),
    "hf_vision": (HF_VISION, WEIGHTS, {"vision_model.embeddings.position_ids": torch.zeros(1, 5, dtype=torch.int64)}),
    "hf_vision, no projection": (variant(HF_VISION, projection=""), IDENTITY, {}),
    "timm": (TIMM, WEIGHTS, {}),
    "timm, a classifier": (
        variant(TIMM, projection=""),
        IDENTITY,
        {"head.weight": torch.ones(3, 16), "head.bias": torch.ones(3)},
    ),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
@pytest.mark.parametrize("case", WRITTEN)
def test_a_tower_that_is_written_is_read_again_bit_for_bit(
    tmp_path: Path, case: str, ending: str, dtype: torch.dtype
) -> None:
    layout, weights, beside = WRITTEN[case]
    tower = {name: tensor.to(dtype) for name, tensor in weights.items()}
    held = {name: tensor.contiguous() for name, tensor in layout.written(tower).items()} | beside
    path = tmp_path / f"a.{ending}"
    save_file(held, path) if ending == "safetensors" else torch.save(held, path)
    checkpoint = Checkpoint("ants", path)
    assert (checkpoint.layout.name, checkpoint.layout.title) == (layout.name, layout.title)
    shapes = {name: tuple(tensor.shape) for name, tensor in tower.items()}
    assert checkpoint.judge(shapes).layout == layout.title
    read = checkpoint.tensors(shapes, dtype)
    assert set(read) == set(tower)
    for name, tensor in read.items():
        assert torch.equal(tensor.view(torch.uint8), tower[name].contiguous().view(torch.uint8)), name


def test_every_layout_is_written_and_read() -> None:
    assert {layout.name for layout, _, _ in WRITTEN.values()} == set(LAYOUTS)


@pytest.mark.parametrize("layout", [variant(TIMM, projection=""), variant(HF_VISION, projection="")])
def test_a_projection_is_not_lost_where_there_is_no_place_for_it(layout: Layout) -> None:
    with says(LayoutError, f"{layout.title} has no place for proj, write it as tower or clip"):
        layout.written(WEIGHTS)


# What stands around it.

CLIP_STATE = full_clip(WEIGHTS)


def under(prefix: str, state: Mapping[str, Tensor] = WEIGHTS) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


WRAPPED: dict[str, tuple[Callable[[], object], Layout, str]] = {
    "state_dict": (lambda: {"state_dict": under("visual."), "epoch": 3}, CLIP, "visual."),
    "model": (lambda: {"model": WEIGHTS, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}}, TOWER, ""),
    "model_state_dict": (lambda: {"model_state_dict": under("model.visual.")}, ENCODER, "model.visual."),
    "twice": (lambda: {"model": {"state_dict": under("module.visual.", WEIGHTS)}}, CLIP, "visual."),
    "trained in parallel": (lambda: {"state_dict": under("module.", CLIP_STATE), "epoch": 1}, CLIP, "visual."),
    "compiled": (lambda: under("_orig_mod.visual."), CLIP, "visual."),
    "compiled in parallel": (lambda: under("module._orig_mod."), TOWER, ""),
    "an image encoder": (lambda: under("model.visual."), ENCODER, "model.visual."),
    "with its text tower": (lambda: under("model.", CLIP_STATE), ENCODER, "model.visual."),
    "in a classifier": (
        lambda: {**under("image_encoder.model.visual."), "classification_head.weight": torch.ones(3, 8)},
        ENCODER,
        "image_encoder.model.visual.",
    ),
    "a module in a dict": (lambda: {"image_encoder": under("visual.")}, CLIP, "visual."),
    "its own prefix": (lambda: under("backbone."), TOWER, "backbone."),
    "transformers in Lightning": (
        lambda: under("model.", HF_VISION.written(WEIGHTS)),
        HF_VISION,
        "model.vision_model.",
    ),
    "timm in Lightning": (lambda: {"state_dict": under("net.", TIMM.written(WEIGHTS))}, TIMM, "net."),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_a_tower_is_found_in(tmp_path: Path, case: str) -> None:
    made, layout, prefix = WRAPPED[case]
    torch.save(made(), tmp_path / "a.pt")
    checkpoint = Checkpoint("ants", tmp_path / "a.pt")
    assert (checkpoint.layout.name, checkpoint.layout.prefix) == (layout.name, prefix)
    checkpoint.judge(ARCH.shapes)
    read = checkpoint.tensors(ARCH.shapes)
    assert all(torch.equal(read[name], WEIGHTS[name]) for name in ARCH.shapes)


OTHERS: dict[str, tuple[dict[str, Tensor], str]] = {
    "an adapter": (
        {"base_model.model.q_proj.lora_A.weight": torch.ones(2, 2)},
        (
            "a LoRA adapter, not a whole model, a.safetensors, "
            "give a base and the adapter's folder, or merge it into its base first"
        ),
    ),
    "a text tower": (
        {"text_model.embeddings.token_embedding.weight": torch.ones(2, 2)},
        "a text tower without a vision tower, a.safetensors, give the vision tower or the full CLIP",
    ),
    "a ResNet": (
        {"x": torch.ones(2, 2), "fc.weight": torch.ones(2, 2)},
        "no vision tower of CLIP or timm is in it (fc.weight, x), a.safetensors, give a CLIP or its vision tower",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_kind_of_model_is_named(tmp_path: Path, case: str) -> None:
    tensors, text = OTHERS[case]
    save_file(tensors, tmp_path / "a.safetensors")
    with says(LayoutError, f"ants: {text}"):
        Checkpoint("ants", tmp_path / "a.safetensors").judge(ARCH.shapes)


def test_another_resolution_is_told_in_pixels(tmp_path: Path) -> None:
    save_file({**WEIGHTS, "positional_embedding": torch.zeros(10, 16)}, tmp_path / "a.safetensors")
    text = "ants: made for images of 24 pixels a side, the arch reads 16, a.safetensors, use checkpoints of this arch"
    with says(ShapeMismatch, text):
        Checkpoint("ants", tmp_path / "a.safetensors").judge(ARCH.shapes)


# Configs that are wrong.

CONFIGS: dict[str, tuple[object, str]] = {
    "another activation": (
        {"model_type": "clip_vision_model", "hidden_act": "relu"},
        "ants: the activation is 'relu', config.json, give a model with gelu or quick_gelu",
    ),
    "a word for a number": (
        {"model_type": "clip_vision_model", "hidden_size": "wide"},
        "ants: its config has values of the wrong kind, config.json, download it again",
    ),
    "no heads": (
        {"model_type": "clip_vision_model", "num_attention_heads": 0},
        "ants: its config has values of the wrong kind, config.json, download it again",
    ),
    "a list": ([1], "ants: not a JSON object, config.json, download it again"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_is_refused_for(tmp_path: Path, case: str) -> None:
    raw, text = CONFIGS[case]
    save_file({n: t.contiguous() for n, t in HF_VISION.written(WEIGHTS).items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    with says(CheckpointError if "wrong kind" in text or "JSON" in text else LayoutError, text):
        Checkpoint("ants", tmp_path).config()


def test_without_a_config_nothing_is_said_of_the_activation(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    checkpoint = Checkpoint("ants", tmp_path / "a.safetensors")
    assert (checkpoint.config(), checkpoint.hints()) == (None, {})
    assert checkpoint.tower_shapes() == ARCH.shapes


# A merge does not know in which layouts its files came.


def test_a_merge_of_files_in_four_layouts_is_that_of_the_plain_towers(tmp_path: Path) -> None:
    write_project(tmp_path)
    plain = merged(tmp_path, mapping("esm"))
    for layout, (stem, ending) in zip(
        (HF_VISION, TIMM, ENCODER, CLIP),
        (("base", "bin"), ("ants", "pt"), ("bees", "ckpt"), ("cats", "safetensors")),
        strict=True,
    ):
        tower = load_file(tmp_path / f"{stem}.safetensors")
        (tmp_path / f"{stem}.safetensors").unlink()
        held = {name: tensor.contiguous() for name, tensor in layout.written(tower).items()}
        path = tmp_path / f"{stem}.{ending}"
        save_file(held, path) if ending == "safetensors" else torch.save({"state_dict": held}, path)
    raw = mapping("esm")
    raw["base_model"]["path"] = "base.bin"
    for model, ending in zip(raw["models"], ("pt", "ckpt", "safetensors"), strict=True):
        model["path"] = f"{model['name']}.{ending}"
    mixed = merged(tmp_path, raw)
    assert sha256_tensors(mixed) == sha256_tensors(plain)


def merged(folder: Path, raw: dict[str, Any]) -> dict[str, Tensor]:
    project = Project.open(parse_mapping(raw, folder), device="cpu")
    project.prepare()
    return project.materialize(project.recipe)


# The parts of names that training wrappers add.

AROUND: dict[str, Callable[[str], str]] = {
    "data parallel, compiled": lambda name: "module._orig_mod." + name,
    "compiled, data parallel": lambda name: "_orig_mod.module.visual." + name,
    "compiled inside a CLIP": lambda name: "module.visual._orig_mod." + name,
    "DeepSpeed": lambda name: "_forward_module.model.visual." + name,
    "each block compiled": lambda name: re.sub(r"(resblocks\.\d+\.)", r"\1_orig_mod.", name),
    "each block checkpointed": lambda name: re.sub(r"(resblocks\.\d+\.)", r"\1_checkpoint_wrapped_module.", name),
    "sharded, each block too": lambda name: (
        "_fsdp_wrapped_module." + re.sub(r"(resblocks\.\d+\.)", r"\1_fsdp_wrapped_module.", name)
    ),
}


@pytest.mark.parametrize("kind", ["safetensors", "zip", "old"])
@pytest.mark.parametrize("case", AROUND)
def test_the_names_of_training_wrappers_are_left_out(tmp_path: Path, case: str, kind: str) -> None:
    state = {AROUND[case](name): tensor for name, tensor in WEIGHTS.items()}
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pt")
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    checkpoint = Checkpoint("ants", path)
    checkpoint.judge(ARCH.shapes)
    assert all(torch.equal(tensor, WEIGHTS[name]) for name, tensor in checkpoint.tensors(ARCH.shapes).items())


# Several models in one file.


def copied(prefix: str, state: Mapping[str, Tensor] = WEIGHTS) -> dict[str, Tensor]:
    return {prefix + name: tensor.clone() for name, tensor in state.items()}


def in_timm(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor.contiguous() for name, tensor in TIMM.written(WEIGHTS).items()}


SEVERAL: dict[str, tuple[dict[str, Any], str]] = {
    "a frozen copy": (
        {"state_dict": {**copied("model.visual."), **copied("pretrained.visual.")}},
        "2 vision towers are in it: model.visual., pretrained.visual.",
    ),
    "an average": (
        {"net": copied("visual."), "ema": copied("visual.")},
        "2 vision towers are in it: ema.visual., net.visual.",
    ),
    "an average beside the wrapper": (
        {"state_dict": copied("visual."), "state_dict_ema": copied("visual.")},
        "2 vision towers are in it: state_dict.visual., state_dict_ema.visual.",
    ),
    "a teacher": (
        {**copied("student.visual."), **copied("teacher.visual.")},
        "2 vision towers are in it: student.visual., teacher.visual.",
    ),
    "one without a prefix": ({**WEIGHTS, **copied("ema.")}, "2 vision towers are in it: no prefix, ema."),
    "compiled beside plain": ({**WEIGHTS, **copied("_orig_mod.")}, "2 vision towers are in it: no prefix, _orig_mod."),
    "of two libraries": (
        {**copied("clip.visual."), **in_timm("vit.")},
        "2 vision towers are in it: clip.visual., vit.",
    ),
    "four": (
        {key: value for at in range(4) for key, value in copied(f"m{at}.").items()},
        "4 vision towers are in it: m0., m1., m2. and 1 more",
    ),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_a_file_with_several_towers_is_refused_with_their_names(tmp_path: Path, case: str) -> None:
    state, what = SEVERAL[case]
    torch.save(state, tmp_path / "a.pt")
    with says(
        LayoutError, f"ants: {what}, a.pt, save the tensors of one of them, under their names, in a file of its own"
    ):
        Checkpoint("ants", tmp_path / "a.pt").judge(ARCH.shapes)


@pytest.mark.parametrize("prefix", ["", "ema.", "model.visual.", "state_dict_ema.", "teacher.visual.", "m3."])
def test_the_tensors_of_one_of_them_under_their_names_are_read(tmp_path: Path, prefix: str) -> None:
    """What the refusal of a file with several towers says to do."""
    save_file(copied(prefix), tmp_path / "a.safetensors")
    checkpoint = Checkpoint("ants", tmp_path / "a.safetensors")
    checkpoint.judge(ARCH.shapes)
    assert all(torch.equal(tensor, WEIGHTS[name]) for name, tensor in checkpoint.tensors(ARCH.shapes).items())


def test_two_names_of_one_tower_are_one(tmp_path: Path) -> None:
    torch.save(
        {**{f"a.{n}": t for n, t in WEIGHTS.items()}, **{f"b.{n}": t for n, t in WEIGHTS.items()}}, tmp_path / "a.pt"
    )
    checkpoint = Checkpoint("ants", tmp_path / "a.pt")
    checkpoint.judge(ARCH.shapes)
    assert torch.equal(checkpoint.tensors(["proj"])["proj"], WEIGHTS["proj"])


def test_a_part_of_a_tower_and_a_small_network_beside_a_whole_tower_do_not_count(tmp_path: Path) -> None:
    small = {"a_much_longer_prefix.lpips.conv1.weight": torch.zeros(4, 3, 3, 3), "loss.class_embedding": torch.zeros(4)}
    torch.save({**copied("encoder."), **small}, tmp_path / "a.pt")
    checkpoint = Checkpoint("ants", tmp_path / "a.pt")
    checkpoint.judge(ARCH.shapes)
    assert checkpoint.layout.prefix == "encoder."


def test_the_layout_does_not_depend_on_the_order_of_a_set() -> None:
    shapes = {prefix + name: t.shape for prefix in ("b.", "a.", "c.") for name, t in WEIGHTS.items() if "ln_" in name}
    assert {layout_of(dict(sorted(shapes.items(), reverse=back))).prefix for back in (False, True)} == {"a."}
