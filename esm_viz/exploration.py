"""Everything that Explore knows of a project, as the JSON that RECIPE promises and as one page of pictures.

What is dear a layer (stability, patches) is measured at one layer: where the tasks overlap most.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from esm_viz import figures
from esm_viz.explore import pairs_of
from esm_viz.figures.page import pictures_page
from esm_viz.pipeline import Project
from esm_viz.recipe import Recipe
from esm_viz.types import Layer, Patches, Report, Stability

SHARES = (0.5, 0.9, 0.99)
_MAP_HEIGHT, _HEIGHT, _SQUARE = 340, 380, 460  # px


def explore_json(project: Project, recipe: Recipe, report: Report) -> dict[str, Any]:
    """Return every exploration as numbers; NaN becomes null."""
    norms = project.layer_map("norm", recipe, _part(report, 0.0, 0.4))
    found = _decompositions(project, recipe, _part(report, 0.4, 0.1))
    for at, task in enumerate(project.tasks):
        for step, layer in enumerate(project.layers):
            found["norms"][task][layer.name] = norms.values[at][step]
    layer = _busiest(project, recipe)
    drawn = project.subspace_map(recipe, _part(report, 0.5, 0.05))
    found["subspace_map"] = {
        "stress": drawn.stress,
        "points": {
            task: {layer.name: list(point) for layer, point in zip(drawn.layers, row, strict=True)}
            for task, row in zip(drawn.tasks, drawn.points, strict=True)
        },
    }
    found["stability"] = {"layer": layer.name, "tasks": {}}
    found["patches"] = {"layer": layer.name, "tasks": {}}
    for at, task in enumerate(project.tasks):
        part = _part(report, 0.55 + 0.2 * at / len(project.tasks), 0.2 / len(project.tasks))
        found["stability"]["tasks"][task] = _stability(project.stability(task, layer.name, recipe, part))
        seen = _patches(project, recipe, task, layer)
        found["patches"]["tasks"][task] = seen and _seen(seen)
    scaled = project.scaling_profile(recipe, _part(report, 0.75, 0.25))
    names = [layer.name for layer in scaled.layers]
    found["scaling_profile"] = {
        "levels": list(scaled.levels),
        "norms": {
            level: dict(zip(names, row, strict=True)) for level, row in zip(scaled.levels, scaled.norms, strict=True)
        },
        **{
            f"task_shares_{when}": {
                task: dict(zip(names, row, strict=True)) for task, row in zip(scaled.tasks, shares, strict=True)
            }
            for when, shares in (("before", scaled.shares_before), ("after", scaled.shares_after))
        },
    }
    return _finite(found)


def explore_page(project: Project, recipe: Recipe, report: Report) -> str:
    """Return one HTML page: what concerns all layers, then the layer where the tasks overlap most."""
    maps = [(how.name, project.layer_map(kind, recipe, report)) for kind, how in figures.KINDS.items()]
    pictures = [(title, figures.layer_map_figure(record), _MAP_HEIGHT) for title, record in maps]
    pictures += [
        ("Subspace map", figures.subspace_map_figure(project.subspace_map(recipe)), _SQUARE),
        ("Levels of scaling", figures.scaling_figure(project.scaling_profile(recipe)), _HEIGHT),
    ]
    layer = _busiest(project, recipe)
    shared = project.overlap(layer.name, recipe)
    pictures.append((f"Overlap at {layer.label}", figures.overlap_figure(shared), _SQUARE))
    for at, task in enumerate(project.tasks):
        where = f"{layer.label}, {task}"
        pictures += [
            (where, figures.spectrum_figure(project.spectrum(task, layer.name, recipe), at), _HEIGHT),
            (f"{where}: stability", figures.stability_figure(project.stability(task, layer.name, recipe), at), _HEIGHT),
        ]
    for task in sorted(project.tasks, key=lambda name: -sum(shared.values[project.tasks.index(name)])):
        seen = _patches(project, recipe, task, layer)
        if seen:  # one task's images are enough for a page that is sent around
            pictures.append((f"{layer.label}, {task}: patches", figures.patches_figure(seen), _HEIGHT))
            break
    said = f"{project.inspection.arch}, {len(project.tasks)} tasks: {', '.join(project.tasks)}."
    return pictures_page("Where did fine-tuning change the model?", said, pictures)


def _decompositions(project: Project, recipe: Recipe, report: Report) -> dict[str, Any]:
    """Return the keys that RECIPE promises, the norms still to be filled in."""
    layers, tasks = project.layers, project.tasks
    result: dict[str, Any] = {
        "tasks": list(tasks),
        "layers": [layer.name for layer in layers],
        "recipe_sha256": project.sha256(recipe),
        "eigenvalues": {task: {} for task in tasks},
        "energy_svd": {task: {} for task in tasks},
        "rank_for_energy": {f"{share:g}": {task: {} for task in tasks} for share in SHARES},
        "norms": {task: {} for task in tasks},
        "rank": {},
        "overlap": {},
        "overlap_random": {},
        "principal_angles": {},
    }
    for step, layer in enumerate(layers):
        report(step / len(layers), f"measuring {layer.label}")
        for task in tasks:
            spectrum = project.spectrum(task, layer.name, recipe)
            result["eigenvalues"][task][layer.name] = list(spectrum.eigenvalues)
            result["energy_svd"][task][layer.name] = list(spectrum.energy_svd)
            result["rank"][layer.name] = spectrum.rank
            ranks = project.ranks_for_energy(task, layer.name, SHARES)
            for share, rank in zip(SHARES, ranks, strict=True):
                result["rank_for_energy"][f"{share:g}"][task][layer.name] = rank
        overlap = project.overlap(layer.name, recipe)
        result["overlap"][layer.name] = [list(row) for row in overlap.values]
        result["overlap_random"][layer.name] = overlap.random_level
        result["principal_angles"][layer.name] = {
            f"{a}|{b}": list(project.angles(layer.name, a, b, recipe).degrees) for a, b in pairs_of(tasks)
        }
    return result


def _busiest(project: Project, recipe: Recipe) -> Layer:
    return project.layer_map("overlap", recipe).strongest


def _patches(project: Project, recipe: Recipe, task: str, layer: Layer) -> Patches | None:
    """Return what a task's strongest direction sees; None where it has none."""
    moved = project.spectrum(task, layer.name, recipe).eigenvalues[0] > 0
    return project.patches(task, layer.name, 1, recipe) if moved else None


def _stability(record: Stability) -> dict[str, Any]:
    plain = dataclasses.asdict(record)
    return {key: plain[key] for key in plain if key not in ("task", "layer")}


def _seen(record: Patches) -> dict[str, Any]:
    """Return patches without the pixels, which the proxies' files hold."""
    return {
        "direction": record.direction,
        "energy": record.energy,
        "class_token_share": record.class_token_share,
        "top": [dataclasses.asdict(patch) for patch in record.top],
        "images": [
            {"image": image.image, "heat": [list(row) for row in image.heat], "class_token": image.class_token}
            for image in record.images
        ],
    }


def _part(report: Report, start: float, share: float) -> Report:
    """Return a report that fills one part of another one's bar."""
    return lambda fraction, words: report(start + share * fraction, words)


def _finite(value: Any) -> Any:
    """Replace NaN by None throughout: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
