"""Heads from files and from words."""

from __future__ import annotations

import hashlib
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from esm_viz.core.errors import HeadError
from esm_viz.families.classification_head import Head, read_head
from esm_viz.families.zeroshot_head import head_from_words
from tests.support.errors import says
from tests.support.tiny import CONFIG, EMBED, FULL_CONFIG, base_weights, full_clip, normal

WEIGHT = normal(4, EMBED, seed=1, dtype=torch.float32)


def write(folder: Path, tensors: dict[str, Tensor], classes: str = "") -> Path:
    path = folder / "h.safetensors"
    save_file(tensors, path, {"classes": classes} if classes else None)
    return path


def test_a_head_comes_back_with_bias_and_names(tmp_path: Path) -> None:
    bias = torch.arange(4.0)
    head = read_head(write(tmp_path, {"weight": WEIGHT, "bias": bias}, '["a", "b", "c", "d"]'), EMBED)
    assert torch.equal(head.weight, WEIGHT)
    assert torch.equal(head.bias, bias)
    assert head.classes == ("a", "b", "c", "d")


def test_half_precision_heads_are_read_as_float32(tmp_path: Path) -> None:
    head = read_head(write(tmp_path, {"weight": WEIGHT.half()}), EMBED)
    assert torch.equal(head.weight, WEIGHT.half().float())


REFUSED: dict[str, tuple[dict[str, Tensor], str, str]] = {
    "no weight": ({"bias": torch.zeros(4)}, "", "the head holds bias, h.safetensors, give weight and bias"),
    "something else": (
        {"weight": WEIGHT, "x": WEIGHT.clone()},
        "",
        "the head holds weight, x, h.safetensors, give weight and bias",
    ),
    "another width": (
        {"weight": torch.zeros(4, 9)},
        "",
        "the head's weight is (4, 9), h.safetensors, give (classes, 8)",
    ),
    "a vector": ({"weight": torch.zeros(8)}, "", "the head's weight is (8,), h.safetensors, give (classes, 8)"),
    "a wrong bias": (
        {"weight": WEIGHT, "bias": torch.zeros(3)},
        "",
        "the head's bias is (3,), h.safetensors, give (4,)",
    ),
    "int8 weights, whose scale is elsewhere": (
        {"weight": WEIGHT.to(torch.int8)},
        "",
        "the head's weight is I8, h.safetensors, save it as float32",
    ),
    "whole numbers as a bias": (
        {"weight": WEIGHT, "bias": torch.zeros(4, dtype=torch.int64)},
        "",
        "the head's bias is I64, h.safetensors, save it as float32",
    ),
    "NaN": ({"weight": WEIGHT * torch.nan}, "", "the head holds NaN or Inf, h.safetensors, make it again"),
    "Inf in the bias": (
        {"weight": WEIGHT, "bias": torch.full((4,), torch.inf)},
        "",
        "the head holds NaN or Inf, h.safetensors, make it again",
    ),
    "too few names": (
        {"weight": WEIGHT},
        '["a"]',
        "the head names 1 classes for 4 rows, h.safetensors, make it again",
    ),
    "names that are no list": (
        {"weight": WEIGHT},
        '{"a": 1}',
        "the head's class names are not a JSON list of words, h.safetensors, make it again",
    ),
    "names that are no JSON": (
        {"weight": WEIGHT},
        "a, b",
        "the head's class names are not a JSON list of words, h.safetensors, make it again",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_head_is_refused_for(tmp_path: Path, case: str) -> None:
    tensors, classes, text = REFUSED[case]
    with says(HeadError, text):
        read_head(write(tmp_path, tensors, classes), EMBED)


def test_garbage_is_no_head(tmp_path: Path) -> None:
    (tmp_path / "h.safetensors").write_bytes(b"garbage")
    with pytest.raises(
        HeadError, match=r"^the head cannot be read \(not a whole safetensors file .*, h\.safetensors, "
    ):
        read_head(tmp_path / "h.safetensors", EMBED)


def test_answers_are_the_largest_cosine_plus_bias() -> None:
    features = 100 * normal(50, EMBED, seed=2, dtype=torch.float32)
    bias = torch.tensor([0.0, 0.5, -0.5, 0.1])
    truth = (features / features.norm(dim=1, keepdim=True) @ WEIGHT.mT + bias).argmax(1)
    assert torch.equal(Head(WEIGHT, bias, ()).predict(features), truth)
    assert not torch.equal(Head(WEIGHT, None, ()).predict(features), truth)


@pytest.mark.parametrize("normalised", [True, False])
def test_the_probability_of_an_answer_is_the_softmax_of_the_logits(normalised: bool) -> None:
    features = normal(50, EMBED, seed=2, dtype=torch.float32)
    head = Head(3 * WEIGHT, None, (), normalised)
    chosen, sure = head.answers(features)
    assert torch.equal(chosen, head.predict(features))
    assert torch.allclose(sure, head.logits(features).softmax(1).max(1).values)
    assert 1 / len(WEIGHT) < float(sure.min()) < float(sure.max()) <= 1


@pytest.mark.parametrize("other", ["weight", "bias", "order of names"])
def test_a_heads_digest_depends_on(other: str) -> None:
    head = Head(WEIGHT, torch.zeros(4), ("a", "b", "c", "d"))
    changed = {
        "weight": Head(WEIGHT + 1, head.bias, head.classes),
        "bias": Head(WEIGHT, torch.ones(4), head.classes),
        "order of names": Head(WEIGHT, head.bias, ("b", "a", "c", "d")),  # folders are labelled by these names
    }
    assert changed[other].digest != head.digest


def test_a_heads_digest_is_what_it_has_always_been() -> None:
    """Recipes and caches of before name it."""
    head = Head(WEIGHT, torch.ones(4), ("a", "b"))
    written = WEIGHT.numpy().tobytes() + torch.ones(4).numpy().tobytes() + b'["a", "b"]'
    assert head.digest == hashlib.sha256(written).hexdigest()
    assert Head(WEIGHT, torch.ones(4), ("a", "b"), normalised=False).digest != head.digest


# Files of other kinds.


def test_a_classifier_in_a_timm_file_reads_features_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(4)
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": EMBED, "depth": 1, "num_heads": 2, "num_classes": 4}
    model = VisionTransformer(**sizes).eval()
    torch.nn.init.normal_(model.head.weight)
    torch.nn.init.normal_(model.head.bias)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "vit.pt")
    head = read_head(tmp_path / "vit.pt", EMBED)
    features = 5 * normal(40, EMBED, seed=3, dtype=torch.float32)
    with torch.inference_mode():
        truth = model.head(features).argmax(1)
    assert torch.equal(head.predict(features), truth)
    assert not torch.equal(Head(head.weight, head.bias, ()).predict(features), truth)


@pytest.mark.parametrize("normalised", [True, False])
def test_a_pickled_classification_head_says_whether_it_normalises(tmp_path: Path, normalised: bool) -> None:
    module = types.ModuleType("their_heads")
    kind = type("ClassificationHead", (torch.nn.Linear,), {"__module__": "their_heads"})
    module.ClassificationHead = kind
    made = kind(EMBED, 4)
    made.normalize = normalised
    sys.modules["their_heads"] = module
    try:
        torch.save(made, tmp_path / "head_ants.pt")
    finally:
        del sys.modules["their_heads"]
    head = read_head(tmp_path / "head_ants.pt", EMBED)
    assert head.normalised is normalised
    assert torch.equal(head.weight, made.weight)
    assert torch.equal(head.bias, made.bias)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_of_a_head_is_normalised_as_clips(tmp_path: Path, zipped: bool) -> None:
    torch.save({"weight": WEIGHT.half()}, tmp_path / "h.pt", _use_new_zipfile_serialization=zipped)
    head = read_head(tmp_path / "h.pt", EMBED)
    assert head.normalised
    assert torch.equal(head.weight, WEIGHT.half().float())
    assert head.digest == read_head(write(tmp_path, {"weight": WEIGHT.half()}), EMBED).digest


def test_a_towers_file_is_no_head(tmp_path: Path) -> None:
    torch.save(base_weights(), tmp_path / "h.pt")
    with pytest.raises(HeadError, match="the head holds class_embedding"):
        read_head(tmp_path / "h.pt", EMBED)


# Words.

STATE = full_clip(base_weights())
CLASSES, TEMPLATES = ("ant", "big bee"), ("a photo of a {}.", "{}")


def test_a_head_from_words_is_open_clips_own_zero_shot_head() -> None:
    model = CLIP(**FULL_CONFIG).eval()
    model.load_state_dict(STATE, strict=True)
    tokenizer = SimpleTokenizer(context_length=12)
    rows = []
    with torch.inference_mode():
        for name in CLASSES:
            embedded = model.encode_text(tokenizer([template.format(name) for template in TEMPLATES]), normalize=True)
            rows.append(F.normalize(embedded.mean(0), dim=0))
    head = head_from_words(FULL_CONFIG, STATE, CLASSES, TEMPLATES)
    assert head.classes == CLASSES
    assert (head.weight - torch.stack(rows)).abs().max() < 1e-6  # float32


def test_a_name_with_braces_is_put_in_as_it_is() -> None:
    plain = head_from_words(FULL_CONFIG, STATE, ("{x}",), ("{}",))
    assert torch.isfinite(plain.weight).all()


TEXT_REFUSED = {
    "a template without a place": (
        FULL_CONFIG,
        STATE,
        ("a photo",),
        "the template 'a photo' has no {}, put {} where the class name goes",
    ),
    "no text in the architecture": (
        CONFIG,
        STATE,
        ("{}",),
        "the architecture has no plain text tower, give the head as weights",
    ),
    "a Hugging Face text tower": (
        {**CONFIG, "text_cfg": {"hf_model_name": "x"}},
        STATE,
        ("{}",),
        "the architecture has no plain text tower, give the head as weights",
    ),
    "no text in the weights": (
        FULL_CONFIG,
        {name: tensor for name, tensor in STATE.items() if name != "text_projection"},
        ("{}",),
        "the base has no text tower (text_projection is missing), give the head as weights",
    ),
    "another width": (
        FULL_CONFIG,
        {**STATE, "text_projection": torch.zeros(3, 3)},
        ("{}",),
        "the base's text tower does not fit the architecture, give the head as weights",
    ),
    "numbers that are not finite": (
        FULL_CONFIG,
        {**STATE, "text_projection": STATE["text_projection"] * torch.nan},
        ("{}",),
        "the base's text tower gives NaN or Inf, give the head as weights",
    ),
}


@pytest.mark.parametrize("case", TEXT_REFUSED)
def test_words_are_refused_for(case: str) -> None:
    config, state, templates, text = TEXT_REFUSED[case]
    with says(HeadError, text):
        head_from_words(config, state, CLASSES, templates)
