"""The engine on the embedded demo: from scratch and after one knob, beside the plain way, alternating in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import esm_viz
from benchmarks import plain
from esm_viz.models.tower import ESSENTIAL, watch_inputs
from esm_viz.recipe import Recipe

DEMO = Path(__file__).parents[1] / "assets" / "demo" / "recipe.yaml"
KNOBS = {"p_task": "task_exponent", "p_dim": "dimension_exponent", "p_layer": "layer_exponent", "α": "alpha"}
SLOW_KNOBS = {"ρ": "rank_ratio", "γ": "spectrum_exponent"}


def main(rounds: int) -> None:
    """Print medians over rounds, and each as a ratio to the plain way from scratch in the same round."""
    recipe = esm_viz.load_recipe(DEMO)
    figures: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    for at in range(rounds + 1):  # the first round warms up and is not counted
        seconds = _round(recipe, at)
        base = seconds["plain: ESD + ESM from scratch"]
        for name, value in seconds.items() if at else ():
            figures.setdefault(name, []).append(value)
            ratios.setdefault(name, []).append(base / value)
    print(f"demo, {len(recipe.models)} tasks, {torch.get_num_threads()} threads, median of {rounds} rounds")
    print(f"{'work':<44}{'ms':>9}{'times plain':>13}")
    for name, values in figures.items():
        print(f"{name:<44}{1000 * statistics.median(values):>9.1f}{statistics.median(ratios[name]):>13.1f}")


def _round(recipe: Recipe, at: int) -> dict[str, float]:
    deltas, inputs = _material(esm_viz.Project.open(recipe))
    start = time.perf_counter()
    project = esm_viz.Project.open(recipe)  # with a cache of its own: nothing is there yet
    seconds = {"open: headers, hashes, finite numbers": time.perf_counter() - start}
    seconds["plain: ESD + ESM from scratch"] = _timed(lambda: _plain(project, deltas, inputs))
    seconds["ours: moments + ESD"] = _timed(project.prepare)
    seconds["ours: ESM after that, with interference"] = _timed(lambda: project.merge(recipe))
    seconds["ours: ESD + ESM from scratch"] = (
        seconds["ours: moments + ESD"] + seconds["ours: ESM after that, with interference"]
    )
    for symbol, name in (KNOBS | SLOW_KNOBS).items():
        moved = esm_viz.with_parameters(recipe, **{name: _other(recipe.parameters[name], at)})
        seconds[f"ours: {symbol} moved, with interference"] = _timed(lambda to=moved: project.merge(to))
    seconds["ours: weights of a merged recipe"] = _timed(lambda: project.materialize(recipe))
    for limit in (32, 0):
        moved = esm_viz.with_parameters(recipe, alpha=0.31 + 0.01 * at)
        words = f"{limit} images a task" if limit else "all images"
        project.evaluate(recipe, "validation", limit)  # images decoded, base and experts scored
        seconds[f"ours: validation accuracy, {words}"] = _timed(
            lambda to=moved, n=limit: project.evaluate(to, "validation", n)
        )
    return seconds


def _material(project: esm_viz.Project) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]:
    """Return float32 ΔW_t and X_t of every layer, so that the plain way is timed without reading or forward passes."""
    recipe, headers = project.recipe, project.headers()
    deltas: dict[str, list[Tensor]] = {layer.name: [] for layer in project.layers}
    inputs: dict[str, list[Tensor]] = {layer.name: [] for layer in project.layers}
    for task in project.tasks:
        tower = headers.arch.tower(headers.experts[task].tensors(headers.arch.shapes, torch.float32))
        watch_inputs(
            tower,
            project.layers,
            project.stages.proxies(recipe, task),
            lambda name, rows: inputs[name].append(rows.reshape(-1, rows.shape[-1]).clone()),
        )
        for layer in project.layers:
            deltas[layer.name].append(project.stages.delta(recipe, task, layer.name).float())
    return deltas, inputs


def _plain(project: esm_viz.Project, deltas: dict[str, list[Tensor]], inputs: dict[str, list[Tensor]]) -> None:
    merged = {
        layer.name: plain.merge_layer(deltas[layer.name], inputs[layer.name])
        if layer.family in ESSENTIAL
        else plain.merge_singular_vectors(deltas[layer.name])
        for layer in project.layers
    }
    plain.scale_families(merged, {layer.name: layer.family for layer in project.layers})


def _other(value: object, at: int) -> float:
    """Return a value the knob did not have before, inside every range."""
    return 0.5 + 0.01 * at if float(str(value)) != 0.5 + 0.01 * at else 0.75


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
