"""The files of `assets/demo`: weights, heads, images and the recipe. The same inputs give the same bytes.

Weights are rounded to float16 here, and the rounded weights *are* the checkpoints: whatever is measured is
measured on them. Heads are unit rows in float32; answers are the largest product, so no scale is needed.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from esm_viz.demo.demo_tower import ARCH
from esm_viz.demo.labelled_pictures import Bytes, Part, Task

PROXIES = 32
LABELLED: dict[Part, int] = {"validation": 256, "test": 600}  # of each task
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # every entry's time, so that a zip depends on nothing but its images


def rounded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in float16, ready to be written."""
    return {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in state.items()}


def write_models(out: Path, base: Mapping[str, Tensor], experts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write `base.safetensors` and `models/<task>.safetensors`, both already rounded."""
    (out / "models").mkdir(parents=True, exist_ok=True)
    (out / "base.safetensors").write_bytes(save(dict(base)))
    for name, state in experts.items():
        (out / "models" / f"{name}.safetensors").write_bytes(save(dict(state)))


def write_head(out: Path, task: Task, head: Tensor) -> None:
    """Write `heads/<task>.safetensors`: unit rows, and the class names as metadata."""
    (out / "heads").mkdir(parents=True, exist_ok=True)
    content = save({"weight": head.float().contiguous()}, metadata={"classes": json.dumps(task.classes)})
    (out / "heads" / f"{task.name}.safetensors").write_bytes(content)


def write_images(out: Path, task: Task) -> None:
    """Write a task's proxies (unlabelled, from its training part) and its validation and test images."""
    (out / "proxies").mkdir(parents=True, exist_ok=True)
    (out / "data" / task.name).mkdir(parents=True, exist_ok=True)
    proxies = task.parts["train"].images[:PROXIES]
    _zip(out / "proxies" / f"{task.name}.zip", [(f"{i:03}.webp", image) for i, image in enumerate(proxies)])
    for part, count in LABELLED.items():
        chosen = task.parts[part][:count]
        pairs = zip(chosen.labels, chosen.images, strict=True)
        files = [(f"{task.classes[label]}/{i:03}.webp", image) for i, (label, image) in enumerate(pairs)]
        _zip(out / "data" / task.name / f"{part}.zip", sorted(files, key=lambda file: file[0]))


def write_recipe(out: Path, tasks: Sequence[str], alpha: float | str) -> Path:
    """Write `recipe.yaml`: ESM with every parameter but α at its default."""
    recipe: dict[str, Any] = {
        "merge_method": "esm",
        "arch": ARCH,
        "base_model": {"path": "base.safetensors"},
        "models": [
            {
                "name": name,
                "path": f"models/{name}.safetensors",
                "proxies": f"proxies/{name}.zip",
                "head": f"heads/{name}.safetensors",
                "validation": f"data/{name}/validation.zip",
                "test": f"data/{name}/test.zip",
            }
            for name in tasks
        ],
        "parameters": {"alpha": alpha},
        "dtype": "float32",
    }
    path = out / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def _zip(path: Path, images: Sequence[tuple[str, Bytes]]) -> None:
    """Lossless WebP, stored as they are: they would not shrink again."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, image in images:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "WEBP", lossless=True, quality=80, method=4)
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), buffer.getvalue())
