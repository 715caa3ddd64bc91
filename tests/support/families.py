"""Tiny models of every kind of every library, with random weights, written and opened by the library's own calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from open_clip.model import CLIPVisionCfg, _build_vision_tower
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

SIDE, CLASSES, TASKS = 32, 5, ("ants", "bees")
_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_SIZES = {"image_size": SIDE, "patch_size": 8}
_STAGES = {
    "image_size": SIDE,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [1, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}
_TIMM = {"img_size": SIDE, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
_TIMM_STAGES = {
    "img_size": SIDE,
    "patch_size": 4,
    "embed_dim": 16,
    "depths": [1, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}


@dataclass(frozen=True)
class Kind:
    """One kind of model.

    Attributes:
        library, name: of the model.
        make: number of classes -> a new model; 0 classes for one without a classifier.
        classified: whether its tasks have classifiers.
        save: (model, folder) -> None, as the library does it.
        reopen: folder -> the model, by the library's ordinary call.
        answer: (model, images) -> logits, or features of a model without a classifier.
        head: name of its classifier.
        arch: the recipe's arch; None where a config lies beside the files.
        published: the arch of a published size of this kind, an open_clip name or a config.
    """

    library: str
    name: str
    make: Callable[[int], nn.Module]
    classified: bool
    save: Callable[[nn.Module, Path], None]
    reopen: Callable[[Path], nn.Module]
    answer: Callable[[nn.Module, Tensor], Tensor]
    head: str = ""
    arch: Mapping[str, Any] | None = None
    published: str | Mapping[str, Any] = ""

    @property
    def title(self) -> str:
        """Return the name of the case."""
        return f"{self.library}: {self.name}"


def _of_transformers(kind: str, head: str = "classifier", **config: Any) -> Kind:
    def make(classes: int) -> nn.Module:
        whole = AutoConfig.for_model(kind, num_labels=classes, **config)
        if kind == "deit":  # transformers has two classifiers for it, and takes the one that the config names
            whole.architectures = ["DeiTForImageClassification"]
        return AutoModelForImageClassification.from_config(whole)

    return Kind(
        "transformers",
        kind,
        make,
        True,
        lambda model, folder: model.save_pretrained(folder),
        AutoModelForImageClassification.from_pretrained,
        lambda model, images: model(pixel_values=images).logits,
        head,
        published={"library": "transformers", "model_type": kind, "architectures": [f"{kind}ForImageClassification"]},
    )


def _without_head(kind: str, **config: Any) -> Kind:
    return Kind(
        "transformers",
        f"{kind}, no classifier",
        lambda classes: AutoModel.from_config(AutoConfig.for_model(kind, **config)),
        False,
        lambda model, folder: model.save_pretrained(folder),
        AutoModel.from_pretrained,
        lambda model, images: model(pixel_values=images).pooler_output,
        published={"library": "transformers", "model_type": kind},
    )


def _of_timm(name: str, head: str = "head", **given: Any) -> Kind:
    def make(classes: int) -> nn.Module:
        return timm.create_model(name, num_classes=classes, **given)

    def save(model: nn.Module, folder: Path) -> None:
        model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, SIDE, SIDE)}
        timm.models.save_for_hf(model, folder, model_args=given, safe_serialization=True)
        (folder / "pytorch_model.bin").unlink(missing_ok=True)

    return Kind(
        "timm",
        name,
        make,
        True,
        save,
        lambda folder: timm.create_model(f"local-dir:{folder}", pretrained=True),
        lambda model, images: model(images),
        head,
        published={"library": "timm", "architecture": name},
    )


def _of_open_clip(name: str, published: str, **vision: Any) -> Kind:
    config = {"embed_dim": 16, "vision_cfg": {"image_size": SIDE, **vision}}

    def make(classes: int) -> nn.Module:
        return _build_vision_tower(16, CLIPVisionCfg(**config["vision_cfg"]))

    def save(model: nn.Module, folder: Path) -> None:
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors"
        )

    def reopen(folder: Path) -> nn.Module:
        model = make(0)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model

    def answer(model: nn.Module, images: Tensor) -> Tensor:
        found = model(images)
        return found[0] if isinstance(found, tuple) else found

    return Kind("open_clip", name, make, False, save, reopen, answer, arch=config, published=published)


KINDS = (
    _of_transformers("vit", **_SMALL, **_SIZES),
    _of_transformers("deit", **_SMALL, **_SIZES),
    _of_transformers("beit", **_SMALL, **_SIZES, use_relative_position_bias=True),
    _of_transformers("data2vec-vision", **_SMALL, **_SIZES),
    _of_transformers("dinov2", **{**_SMALL, "intermediate_size": None}, **_SIZES),
    _of_transformers("dinov2_with_registers", **{**_SMALL, "intermediate_size": None}, **_SIZES),
    _of_transformers("ijepa", **_SMALL, **_SIZES),
    _of_transformers("vit_msn", **_SMALL, **_SIZES),
    _of_transformers("swin", **_STAGES),
    _of_transformers("swinv2", **_STAGES),
    _of_transformers("convnext", image_size=SIDE, hidden_sizes=[16, 32], depths=[1, 2], num_stages=2),
    _of_transformers("convnextv2", image_size=SIDE, hidden_sizes=[16, 32], depths=[1, 2], num_stages=2),
    _of_transformers(
        "resnet", "classifier.1", image_size=SIDE, embedding_size=16, hidden_sizes=[16, 32], depths=[1, 2]
    ),
    _of_transformers("siglip", vision_config={**_SMALL, **_SIZES}, text_config=_SMALL),
    _without_head("siglip_vision_model", **_SMALL, **_SIZES),
    _without_head("dinov3_vit", **_SMALL, **_SIZES),
    _of_timm("vit_base_patch16_224", **_TIMM),
    _of_timm("vit_base_patch14_reg4_dinov2", **_TIMM),
    _of_timm("vit_base_patch16_siglip_224", **_TIMM),
    _of_timm("eva02_base_patch14_224", **_TIMM),
    _of_timm("eva_giant_patch14_224", **_TIMM),
    _of_timm("vit_base_patch16_dinov3", **_TIMM),
    _of_timm("beit_base_patch16_224", **_TIMM),
    _of_timm("deit3_small_patch16_224", **_TIMM),
    _of_timm("cait_s24_224", **_TIMM, depth_token_only=1),
    _of_timm("swin_tiny_patch4_window7_224", "head.fc", **_TIMM_STAGES),
    _of_timm("swinv2_tiny_window8_256", "head.fc", **_TIMM_STAGES),
    _of_timm("convnext_tiny", "head.fc", depths=[1, 1, 1, 2], dims=[8, 16, 16, 32]),
    _of_timm("convnextv2_tiny", "head.fc", depths=[1, 1, 1, 2], dims=[8, 16, 16, 32]),
    _of_timm("resnet18", "fc", layers=[1, 1, 1, 2], channels=[16, 16, 32, 32]),
    _of_open_clip("plain CLIP tower", "ViT-B-32", layers=2, width=32, head_width=16, patch_size=8),
    _of_open_clip(
        "CoCa tower",
        "coca_ViT-B-32",
        layers=2,
        width=32,
        head_width=16,
        patch_size=8,
        attentional_pool=True,
        output_tokens=True,
    ),
    _of_open_clip("custom blocks", "", layers=2, width=32, head_width=16, patch_size=8, block_type="custom"),
    _of_open_clip("CLIP's ResNet", "RN50", layers=[1, 1, 1, 2], width=8, head_width=8),
    _of_open_clip("SigLIP tower", "ViT-B-16-SigLIP", timm_model_name="test_vit", timm_pool="token", timm_proj="linear"),
    _of_open_clip("ConvNeXt tower", "convnext_base", timm_model_name="test_convnext", timm_pool="", timm_proj="linear"),
)
"""Every kind of model that the battery runs."""


def stirred(model: nn.Module, seed: int, size: float = 0.05) -> nn.Module:
    """Move all of a model's parameters a little, and put it into eval mode."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return model.eval()


def fine_tune(kind: Kind, base: nn.Module, seed: int, classes: int) -> nn.Module:
    """Return a fine-tune of a base with another number of classes."""
    model = kind.make(classes)
    own = {name: tensor for name, tensor in base.state_dict().items() if not _in_head(name, kind.head)}
    model.load_state_dict(own, strict=False)
    return stirred(model, seed)


def images(count: int, seed: int) -> Tensor:
    """Return images as a model reads them."""
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def write(kind: Kind, folder: Path) -> tuple[nn.Module, dict[str, nn.Module]]:
    """Write base/ and a folder for each task with weights, config, proxies and labelled images; return the models."""
    torch.manual_seed(0)
    base = stirred(kind.make(CLASSES), 1)
    models = {task: fine_tune(kind, base, 10 + at, CLASSES - 1 - at) for at, task in enumerate(TASKS)}
    for name, model in {"base": base, **models}.items():
        (folder / name).mkdir()
        kind.save(model, folder / name)
    if kind.arch is not None:
        (folder / "arch.json").write_text(json.dumps(kind.arch), encoding="utf-8")
    for at, (task, model) in enumerate(models.items()):
        save_file({"images": images(6, 20 + at)}, folder / task / "proxies.safetensors")
        if kind.classified:
            shown = images(12, 30 + at)
            with torch.inference_mode():
                labels = kind.answer(model, shown).argmax(1)
            save_file({"images": shown, "labels": labels.clone()}, folder / task / "validation.safetensors")
    return base, models


def _in_head(name: str, head: str) -> bool:
    return bool(head) and name.startswith(f"{head}.")


transformers.utils.logging.disable_progress_bar()
