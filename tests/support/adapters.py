"""LoRA adapters as peft writes them: `adapter_config.json` and `adapter_model.safetensors` in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.support import tiny

CONFIG: dict[str, Any] = {
    "auto_mapping": {"base_model_class": "Evil", "parent_library": "os"},
    "base_model_name_or_path": "somebody/else",
    "bias": "none",
    "fan_in_fan_out": False,
    "init_lora_weights": True,
    "loftq_config": {},
    "lora_alpha": 8,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": 2,
    "rank_pattern": {},
    "alpha_pattern": {},
    "target_modules": ["q_proj", "v_proj"],
    "use_dora": False,
    "use_rslora": False,
}
"""The settings of an ordinary adapter, with names in it that are never followed."""
OUTER = "base_model.model."


def thin(modules: Mapping[str, tuple[int, ...]], rank: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Return random lora_A and lora_B of modules by the shapes of their weights, by the names in a file."""
    found = {}
    for at, (module, shape) in enumerate(modules.items()):
        down = tiny.normal(rank, *shape[1:], seed=seed + 2 * at, dtype=torch.float32) * 0.3
        up = tiny.normal(shape[0], rank, *(1 for _ in shape[2:]), seed=seed + 2 * at + 1, dtype=torch.float32) * 0.3
        found |= {f"{OUTER}{module}.lora_A.weight": down, f"{OUTER}{module}.lora_B.weight": up}
    return found


def write(folder: Path, tensors: Mapping[str, Tensor], **config: Any) -> Path:
    """Write an adapter's folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
    return folder


def product(tensors: Mapping[str, Tensor], module: str, scale: float, outer: str = OUTER) -> Tensor:
    """Return s B A of a linear module, float64."""
    down, up = (tensors[f"{outer}{module}.lora_{part}.weight"].double() for part in "AB")
    return scale * (up @ down)


def modules(names: Iterable[str], ends: tuple[str, ...]) -> list[str]:
    """Return the modules of weights whose names have one of some ends."""
    return [name.removesuffix(".weight") for name in names if name.endswith(tuple(f".{end}.weight" for end in ends))]
