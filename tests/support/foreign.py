"""Small models as others save them, by their own libraries: Hugging Face folders, and a task-vector repository."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import open_clip
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from esm_viz.data.images.image_source import to_pixels
from tests.support import tiny

CLASSES = tuple(f"class {at}" for at in range(tiny.CLASSES))
VISION = {
    "hidden_size": 16,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": tiny.SIDE,
    "patch_size": 8,
    "projection_dim": tiny.EMBED,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
transformers.utils.logging.disable_progress_bar()


class ImageEncoder(nn.Module):
    """What a task-vector repository pickles whole: a full CLIP, its image part called."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Put a vision tower's weights into a CLIP."""
        super().__init__()
        torch.manual_seed(0)
        self.model = open_clip.model.CLIP(**tiny.FULL_CONFIG)
        self.model.load_state_dict(tiny.full_clip(weights))


class ClassificationHead(nn.Linear):
    """A repository's pickled head: features are normalised first, as its `normalize` says."""

    def __init__(self, weight: Tensor) -> None:
        """Take the class embeddings, (classes, embed_dim)."""
        super().__init__(weight.shape[1], weight.shape[0])
        self.normalize = True
        with torch.no_grad():
            self.weight.copy_(weight)
            self.bias.zero_()


def hugging_face(folder: Path, projected: bool = True) -> None:
    """Write base/ as a whole CLIPModel, and each expert as a folder of its vision model with its head and images.

    Args:
        folder: where to write.
        projected: whether the experts bring the projection; the most used public fine-tunes of CLIP do not.
    """
    kind = transformers.CLIPVisionModelWithProjection if projected else transformers.CLIPVisionModel
    torch.manual_seed(0)
    config = transformers.CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=tiny.EMBED)
    base = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for weight in base.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    base.save_pretrained(folder / "base")
    state = base.state_dict()
    for at, task in enumerate(tiny.TASKS[:2]):
        tuned = kind(transformers.CLIPVisionConfig(**VISION))
        own = {name: _of_vision(name, state) for name in tuned.state_dict()}
        torch.manual_seed(1 + at)
        tuned.load_state_dict({name: _moved(tensor) for name, tensor in own.items()})
        tuned.save_pretrained(folder / task)
        save_file({"weight": _head(at)}, folder / task / "head.safetensors")
        for step, part in enumerate(("proxies", "validation")):
            pictures(folder / task / f"{part}.zip", seed=300 + 10 * at + step)


def lora_adapters(folder: Path) -> None:
    """Write base/ as a whole CLIPModel, and each expert as a folder with a LoRA adapter in peft's layout."""
    hugging_face(folder, projected=False)
    for at, task in enumerate(tiny.TASKS[:2]):
        state = load_file(folder / task / "model.safetensors")
        adapter = {}
        for name in (name for name in state if name.endswith(("q_proj.weight", "v_proj.weight"))):
            d_out, d_in = state[name].shape
            start = f"base_model.model.{name.removesuffix('.weight')}"
            adapter[f"{start}.lora_A.weight"] = tiny.normal(2, d_in, seed=900 + at, dtype=torch.float32)
            adapter[f"{start}.lora_B.weight"] = 0.2 * tiny.normal(d_out, 2, seed=950 + at, dtype=torch.float32)
        save_file(adapter, folder / task / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "bias": "none"}
        (folder / task / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        for name in ("model.safetensors", "config.json"):
            (folder / task / name).unlink()


def task_vectors(folder: Path) -> None:
    """Write zeroshot.pt, TASKVal/nonlinear_finetuned.pt and head_TASK.pt, all pickled whole, and images by name."""
    base = tiny.base_weights()
    torch.save(ImageEncoder(base), folder / "zeroshot.pt")
    for at, task in enumerate(tiny.TASKS[:2]):
        own = folder / f"{task}Val"
        own.mkdir()
        torch.save(ImageEncoder(tiny.tuned_weights(base, at)), own / "nonlinear_finetuned.pt")
        torch.save(ClassificationHead(_head(at)), folder / f"head_{task}.pt")
        pictures(folder / f"{task}.zip", seed=300 + 10 * at)
        pictures(folder / f"{task}.validation.zip", seed=301 + 10 * at)


def pictures(path: Path, seed: int) -> None:
    """Write a zip with one folder of images a class; the folders' order is that of the head's rows."""
    shown = to_pixels(tiny.images(2 * len(CLASSES), seed)).permute(0, 2, 3, 1).numpy()
    with zipfile.ZipFile(path, "w") as archive:
        for at, pixels in enumerate(shown):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            archive.writestr(f"{CLASSES[at % len(CLASSES)]}/{at}.png", file.getvalue())


def zipped(folder: Path, path: Path) -> Path:
    """Pack a folder's content into a zip and return that."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path


def _of_vision(name: str, whole: Mapping[str, Tensor]) -> Tensor:
    """Return a whole CLIP's tensor by its name in a vision model, which some releases write without a prefix."""
    return whole[name] if name in whole else whole[f"vision_model.{name}"]


def _head(at: int) -> Tensor:
    return tiny.normal(tiny.CLASSES, tiny.EMBED, seed=200 + at, dtype=torch.float32)


def _moved(tensor: Tensor) -> Tensor:
    return tensor + 0.05 * torch.randn_like(tensor) if tensor.is_floating_point() else tensor
