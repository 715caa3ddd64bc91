"""The engine beside the plain way, in one run: from scratch, and after one knob.

    python -m benchmarks --quick             ViT-B/32 shapes, 8 tasks, 2 blocks of the 12
    python -m benchmarks engine              the same with all 12, about a quarter of an hour
    python -m benchmarks demo                the embedded demo, with accuracy

From scratch means: from opened files to every merged ΔW. Moved means: to every new ΔW, all layers, stages cached.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import esm_viz
from benchmarks import plain_pytorch, plain_pytorch_run, synthetic
from esm_viz.core.recipe import Recipe
from esm_viz.runtime.stage_cache import StageCache

DEMO = Path(__file__).parents[1] / "assets" / "demo" / "recipe.yaml"
KNOBS: dict[str, tuple[str, float]] = {
    "ρ": ("rank_ratio", 0.9),
    "γ": ("spectrum_exponent", 0.2),
    "p_task": ("task_exponent", 1.5),
    "p_dim": ("dimension_exponent", 1.5),
    "p_layer": ("layer_exponent", 1.5),
    "α": ("alpha", 0.7),
}
"""About where each knob is moved to from its default; a little less each time, so that nothing is there yet."""
SCRATCH = "plain: ESD + ESM from scratch"
TASKS, PROXIES, QUICK_BLOCKS = 8, 32, 2
_CACHE = 16 << 30  # bytes: as much as these shapes like to keep


def main(rounds: int, quick: bool, demo: bool) -> None:
    """Print medians over rounds, and each as a ratio to the plain way from scratch in the same run."""
    if demo:
        _print(esm_viz.load_recipe(DEMO), DEMO, rounds, "the demo")
        return
    blocks = QUICK_BLOCKS if quick else synthetic.VIT_B_32["layers"]
    with tempfile.TemporaryDirectory() as folder:
        recipe = synthetic.write(Path(folder), {**synthetic.VIT_B_32, "layers": blocks}, 512, TASKS, PROXIES)
        path = Path(folder) / "recipe.yaml"
        path.write_text(recipe.to_yaml(), encoding="utf-8")
        _print(recipe, path, rounds, f"ViT-B/32 shapes, {blocks} of 12 blocks")


def _print(recipe: Recipe, path: Path, rounds: int, what: str) -> None:
    figures: dict[str, list[float]] = {}
    for at in range(rounds):
        for name, value in {**_plain(path), **_ours(recipe, at)}.items():
            figures.setdefault(name, []).append(value)
    base = statistics.median(figures[SCRATCH])
    print(f"{what}, {len(recipe.models)} tasks, {torch.get_num_threads()} threads, median of {rounds}")
    print(f"{'work':<54}{'ms':>10}{'times faster':>14}")
    for name, values in figures.items():
        median = statistics.median(values)
        print(f"{name:<54}{1000 * median:>10.1f}{base / median:>14.1f}", flush=True)
    _print_errors(recipe)


def _print_errors(recipe: Recipe) -> None:
    """Print the relative error of one block's ΔW against float64 algebra on the same activations."""
    print(f"{'error of ΔW against float64, same activations':<54}{'ours':>10}{'plain':>14}")
    project = esm_viz.Project.open(recipe)
    for layer in project.layers:
        if layer.essential and layer.block == project.layers[-1].block // 2:
            deltas = [project.stages.delta(recipe, task, layer.name) for task in project.tasks]
            inputs = [project.stages.inputs(recipe, task, layer).flatten(0, 1) for task in project.tasks]
            truth = plain_pytorch.merge_layer(deltas, [rows.double() for rows in inputs])
            theirs = plain_pytorch.merge_layer([delta.float() for delta in deltas], inputs)
            ours = project.stages.merged(recipe, layer.name, layer).delta
            print(f"  {layer.label:<52}{_relative(ours, truth):>10.1e}{_relative(theirs, truth):>14.1e}", flush=True)


def _plain(path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.plain_pytorch_run", str(path)]
    settings = os.environ | plain_pytorch_run.ENVIRONMENT
    run = subprocess.run(command, env=settings, check=True, capture_output=True, text=True)
    seconds = json.loads(run.stdout)
    return {
        SCRATCH: seconds["reading"] + seconds["float32"],
        "plain in float64: ESD + ESM from scratch": seconds["reading"] + seconds["float64"],
        "plain: of that, reading and forward passes": seconds["reading"],
    }


def _ours(recipe: Recipe, at: int) -> dict[str, float]:
    project = esm_viz.Project.open(recipe, cache=StageCache(_CACHE))  # nothing is there yet
    stages = project.stages
    essential = [layer for layer in project.layers if layer.essential]
    ready = _timed(lambda: stages.prepare(recipe, essential))
    seconds = {
        "ours: ESD + ESM from scratch": ready + _timed(lambda: stages.run(recipe, False)),
        "ours: of that, reading, forward passes and ESD": ready,
    }
    project.merge(recipe)
    for symbol, (name, value) in KNOBS.items():
        for step, what, work in (
            (0.001, "to a new ΔW", lambda to: (stages.run(to, False), stages.scales(to))),
            (0.002, "to a new ΔW with its interference", project.merge),
        ):
            moved = esm_viz.with_parameters(recipe, **{name: value - step * (at + 1)})
            seconds[f"ours: {symbol} moved, {what}"] = _timed(lambda to=moved, run=work: run(to))
    project.materialize(recipe)
    again = esm_viz.with_parameters(recipe, alpha=0.75 + 0.01 * at)
    seconds["ours: weights of a merge at another α"] = _timed(lambda: project.materialize(again))
    if project.has_labels("validation"):
        project.evaluate(recipe, "validation", 32)  # images decoded, base and experts scored
        project.evaluate(recipe, "validation")
        seconds["ours: its accuracy, 32 images a task"] = _timed(lambda: project.evaluate(again, "validation", 32))
        seconds["ours: its accuracy, all validation images"] = _timed(lambda: project.evaluate(again, "validation"))
    return seconds


def _relative(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth).norm() / truth.norm())


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
