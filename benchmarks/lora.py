"""A set of LoRA adapters beside the same set merged dense: from files, which are read and hashed, to every merged ΔW.

python -m benchmarks lora --quick     ViT-B/32 shapes, 8 tasks, 2 of 12 blocks
python -m benchmarks lora             the same with all 12
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import esm_viz
from benchmarks import synthetic
from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.merge import settle
from esm_viz.runtime.stage_cache import StageCache

TASKS, PROXIES, RANK, QUICK_BLOCKS = 8, 32, 16, 2
TARGETS = {
    "q_proj and v_proj": ("q_proj", "v_proj"),
    "every matrix": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
}
"""What adapters change, in the names of Hugging Face's CLIP."""
_CACHE = 16 << 30  # bytes


def main(rounds: int, quick: bool) -> None:
    """Print medians over rounds of both sets' times, measured by turns, and of their ratio, also in processor time."""
    blocks = QUICK_BLOCKS if quick else synthetic.VIT_B_32["layers"]
    vision = {**synthetic.VIT_B_32, "layers": blocks}
    print(f"ViT-B/32 shapes, {blocks} of 12 blocks, {TASKS} tasks, rank {RANK}, {torch.get_num_threads()} threads")
    print(
        f"{'adapters on':<20}{'merge':<26}{'adapters, s':>12}{'dense, s':>12}{'times faster':>14}{'processor time':>16}"
    )
    for title, targets in TARGETS.items():
        with tempfile.TemporaryDirectory() as folder:
            dense = synthetic.write(Path(folder), vision, 512, TASKS, PROXIES)
            thin = _adapters(Path(folder), dense, targets)
            _seconds(thin, False)  # the first run of a process also starts its threads
            for measured in (False, True):
                pairs = [(_seconds(thin, measured), _seconds(dense, measured)) for _ in range(rounds)]
                own, theirs = (statistics.median(side[0] for side in sides) for sides in zip(*pairs, strict=True))
                ratios = [statistics.median(dense[at] / thin[at] for thin, dense in pairs) for at in (0, 1)]
                what = "ΔW and its interference" if measured else "ΔW"
                print(
                    f"{title:<20}{what:<26}{own:>12.2f}{theirs:>12.2f}{ratios[0]:>14.1f}{ratios[1]:>16.1f}", flush=True
                )


def _seconds(recipe: Recipe, measured: bool) -> tuple[float, float]:
    """Return the seconds on the clock, and those of all processors."""
    start, busy = time.perf_counter(), time.process_time()
    project = esm_viz.Project.open(recipe, cache=StageCache(_CACHE))  # nothing is there yet
    project.stages.run(recipe, measured)
    return time.perf_counter() - start, time.process_time() - busy


def _adapters(folder: Path, dense: Recipe, targets: tuple[str, ...]) -> Recipe:
    """Write an adapter for each task, and its sum with the base in place of the task's model; return their recipe."""
    base = load_file(folder / "base.safetensors")
    draw = torch.Generator().manual_seed(1)
    raw = dense.as_mapping()
    for model in raw["models"]:
        tuned, tensors = {name: tensor.double() for name, tensor in base.items()}, {}
        for name, rows, module in _modules(base, targets):
            width = base[name].shape[1]
            size = base[name].std() * (rows.stop - rows.start) ** -0.5
            down = torch.randn(RANK, width, generator=draw) * width**-0.5
            up = torch.randn(rows.stop - rows.start, RANK, generator=draw) * size
            tuned[name][rows] += 2 * up.double() @ down.double()
            tensors |= {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
        save_file({name: tensor.float() for name, tensor in tuned.items()}, folder / model["path"])
        model["path"] = f"{model['name']}_lora"
        (folder / model["path"]).mkdir()
        config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "target_modules": list(targets)}
        (folder / model["path"] / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file(tensors, folder / model["path"] / "adapter_model.safetensors")
    return settle(parse_mapping(raw, folder))


def _modules(base: dict[str, Tensor], targets: tuple[str, ...]) -> list[tuple[str, slice, str]]:
    """Return, for each adapted module, the base's matrix, the rows that it is of it, and its name in a file."""
    found = []
    names = {
        "attn.in_proj_weight": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attn.out_proj.weight": ("self_attn.out_proj",),
        "mlp.c_fc.weight": ("mlp.fc1",),
        "mlp.c_proj.weight": ("mlp.fc2",),
    }
    for name, tensor in base.items():
        inside = name.partition("resblocks.")[2].partition(".")
        parts = names.get(inside[2], ())
        step = len(tensor) // len(parts) if parts else 0
        found += [
            (
                name,
                slice(at * step, (at + 1) * step),
                f"base_model.model.vision_model.encoder.layers.{inside[0]}.{part}",
            )
            for at, part in enumerate(parts)
            if part.endswith(targets)
        ]
    return found
