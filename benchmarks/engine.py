"""The engine beside the plain way, in one run: from scratch, and after one knob.

    python -m benchmarks engine --quick      ViT-B/32 shapes, 8 tasks, 2 blocks of the 12
    python -m benchmarks engine              the same with all 12, about a quarter of an hour
    python -m benchmarks engine --demo       the embedded demo, with accuracy

`plain` is handed its tensors and activations; ours reads files, runs the forward passes and measures the same merge.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

import esm_viz
from benchmarks import plain, synthetic
from esm_viz.cache import StageCache
from esm_viz.models.tower import ESSENTIAL
from esm_viz.recipe import Recipe

DEMO = Path(__file__).parents[1] / "assets" / "demo" / "recipe.yaml"
KNOBS = {
    "ρ": "rank_ratio",
    "γ": "spectrum_exponent",
    "p_task": "task_exponent",
    "p_dim": "dimension_exponent",
    "p_layer": "layer_exponent",
    "α": "alpha",
}
SCRATCH = "plain: ESD + ESM from scratch"
TASKS, PROXIES, QUICK_BLOCKS = 8, 32, 2
_CACHE = 16 << 30  # bytes: as much as these shapes like to keep


def main(rounds: int, quick: bool, demo: bool) -> None:
    """Print medians over rounds, and each as a ratio to the plain way from scratch in the same run."""
    if demo:
        _print(esm_viz.load_recipe(DEMO), rounds, "the demo")
        return
    blocks = QUICK_BLOCKS if quick else synthetic.VIT_B_32["layers"]
    with tempfile.TemporaryDirectory() as folder:
        vision = {**synthetic.VIT_B_32, "layers": blocks}
        recipe = synthetic.write(Path(folder), vision, 512, TASKS, PROXIES)
        _print(recipe, rounds, f"ViT-B/32 shapes, {blocks} of 12 blocks")


def _print(recipe: Recipe, rounds: int, what: str) -> None:
    project = esm_viz.Project.open(recipe)
    deltas, inputs = _material(project)
    figures: dict[str, list[float]] = {}
    for at in range(rounds):
        seconds = {SCRATCH: _timed(lambda: _plain(project, deltas, inputs)), **_ours(recipe, at)}
        for name, value in seconds.items():
            figures.setdefault(name, []).append(value)
    base = statistics.median(figures[SCRATCH])
    print(f"{what}, {len(recipe.models)} tasks, {torch.get_num_threads()} threads, median of {rounds}")
    print(f"{'work':<52}{'ms':>10}{'times faster':>14}")
    for name, values in figures.items():
        median = statistics.median(values)
        print(f"{name:<52}{1000 * median:>10.1f}{base / median:>14.1f}")
    merged = _plain(project, deltas, inputs)
    print(f"{'error of ΔW against float64 on the same activations':<52}{'ours':>10}{'plain':>14}")
    for layer in project.layers[: 4 * project.layers[-1].block : max(project.layers[-1].block, 1)]:
        if layer.family in ESSENTIAL:
            truth = plain.merge_layer(_wide(deltas[layer.name]), _wide(inputs[layer.name]))
            ours = project.stages.merged(recipe, layer.name, layer).delta
            print(f"  {layer.label:<50}{_relative(ours, truth):>10.1e}{_relative(merged[layer.name], truth):>14.1e}")


def _ours(recipe: Recipe, at: int) -> dict[str, float]:
    project = esm_viz.Project.open(recipe, cache=StageCache(_CACHE))  # nothing is there yet
    stages = project.stages
    seconds = {
        "ours: moments and ESD, reading and forward passes": _timed(project.prepare),
        "ours: ESM after that": _timed(lambda: stages.scales(recipe)),
    }
    seconds["ours: ESD + ESM from scratch"] = sum(seconds.values())
    _timed(lambda: project.merge(recipe))
    for symbol, name in KNOBS.items():
        moved = esm_viz.with_parameters(recipe, **{name: _other(recipe.parameters[name], at)})
        seconds[f"ours: {symbol} moved, to a new ΔW"] = _timed(lambda to=moved: stages.scales(to))
        seconds[f"ours: {symbol} moved, its interference after that"] = _timed(lambda to=moved: project.merge(to))
    again = esm_viz.with_parameters(recipe, alpha=0.7 + 0.01 * at)
    seconds["ours: weights of a merge at another α"] = _timed(lambda: project.materialize(again))
    if project.has_labels("validation"):
        project.evaluate(recipe, "validation", 32)  # images decoded, base and experts scored
        project.evaluate(recipe, "validation")
        seconds["ours: its accuracy, 32 images a task"] = _timed(lambda: project.evaluate(again, "validation", 32))
        seconds["ours: its accuracy, all validation images"] = _timed(lambda: project.evaluate(again, "validation"))
    return seconds


def _material(project: esm_viz.Project) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
    """Return float32 ΔW_t and X_t of every layer, so that the plain way is timed without reading or forward passes."""
    recipe, stages = project.recipe, project.stages
    deltas: dict[str, list[Tensor]] = {layer.name: [] for layer in project.layers}
    inputs: dict[str, list[Tensor]] = {layer.name: [] for layer in project.layers}
    for layer in sorted(project.layers, key=lambda layer: layer.block):
        for task in project.tasks:
            inputs[layer.name].append(stages.inputs(recipe, task, layer).flatten(0, 1))
            deltas[layer.name].append(stages.delta(recipe, task, layer.name).float())
    return deltas, inputs


def _plain(
    project: esm_viz.Project, deltas: Mapping[str, list[Tensor]], inputs: Mapping[str, list[Tensor]]
) -> dict[str, Tensor]:
    merged = {
        layer.name: plain.merge_layer(deltas[layer.name], inputs[layer.name])
        if layer.family in ESSENTIAL
        else plain.merge_singular_vectors(deltas[layer.name])
        for layer in project.layers
    }
    plain.scale_families(merged, {layer.name: layer.family for layer in project.layers})
    return merged


def _other(value: object, at: int) -> float:
    """Return a value the knob did not have before, inside every range."""
    return 0.5 + 0.01 * at if float(str(value)) != 0.5 + 0.01 * at else 0.75


def _wide(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.double() for tensor in tensors]


def _relative(found: Tensor, truth: Tensor) -> float:
    return float((found.double() - truth).norm() / truth.norm())


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
