"""Does ViT-L/14 x 20 tasks fit in 8 GB? Measured on 2 of its 24 blocks: `python -m benchmarks memory`.

The plan, for merging by the command line (T tasks, n tokens of a task's proxies, width d = 1024, all in bytes):

| what | size | with blocks |
|---|---|---|
| streams: a task's residual stream before two blocks | 2 T n d · 4 = 1.3 GB | stays |
| stage cache, spilling to disk | its limit, 1.5 GB | stays |
| two workers: one block's activations, or one layer's stack, Gram matrix, vectors, products | 3 to 4 GB | stays |
| checkpoints | one block's tensors of one task each, from the page cache | stays |
| merged weights, float32, once at the end | 1.2 GB | grows: 50 MB a block |

So all but the last line can be measured on few blocks, and the last is counted: peak of 2 blocks + 22 · 50 MB.
Only anonymous memory counts: pages of files are the kernel's to drop.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import esm_viz
from benchmarks import synthetic
from esm_viz.runtime.stage_cache import StageCache

TASKS, PROXIES, BLOCKS, ALL_BLOCKS = 20, 32, 2, 24
CACHE = 1_500_000_000
FEATURES = 768
_TOKENS = (synthetic.VIT_L_14["image_size"] // synthetic.VIT_L_14["patch_size"]) ** 2 + 1


def main(quick: bool) -> None:
    """Write the project, merge it in a process of its own, and extrapolate."""
    blocks = 1 if quick else BLOCKS
    with tempfile.TemporaryDirectory() as folder:
        vision = {**synthetic.VIT_L_14, "layers": blocks}
        recipe = synthetic.write(Path(folder), vision, FEATURES, TASKS, PROXIES)
        path = Path(folder) / "recipe.yaml"
        path.write_text(recipe.to_yaml(), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.memory", str(path), folder]
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    peak, seconds, parameters = (float(word) for word in run.stdout.split())
    rest = (ALL_BLOCKS - blocks) * parameters / blocks * 4
    if blocks == 1:  # a tower of one block never holds a task's stream at two
        rest += TASKS * PROXIES * _TOKENS * synthetic.VIT_L_14["width"] * 4
    print(f"ViT-L/14 shapes, {TASKS} tasks, {PROXIES} proxies, {blocks} of {ALL_BLOCKS} blocks, cache {CACHE / 1e9} GB")
    print(f"peak of anonymous memory {peak / 1e9:.2f} GB in {seconds:.0f} s")
    print(
        f"with what the other blocks add {(peak + rest) / 1e9:.2f} GB, in about "
        f"{seconds / blocks * ALL_BLOCKS / 60:.0f} min"
    )


def _merge(path: str, folder: str) -> None:
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, _anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    project = esm_viz.Project.open(esm_viz.load_recipe(path), cache=StageCache(CACHE, Path(folder)))
    weights = project.materialize(project.recipe)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    in_blocks = sum(tensor.numel() for name, tensor in weights.items() if "resblocks" in name)
    print(peak, seconds, in_blocks)


def _anonymous() -> int:
    """Return this process's memory that is not pages of files, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    _merge(*sys.argv[1:])
