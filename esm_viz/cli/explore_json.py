"""Everything that Explore shows of a project, as the JSON that RECIPE promises.

What is expensive (stability, patches) is measured at one layer: where the tasks overlap most.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from esm_viz.core.progress import Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Patches, Stability
from esm_viz.explore.overlap import pairs_of
from esm_viz.project.project import Project
from esm_viz.report.explore_page import busiest_layer, first_patches

SHARES = (0.5, 0.9, 0.99)


def explore_json(project: Project, recipe: Recipe, progress: Progress) -> dict[str, Any]:
    """Return every exploration as numbers; NaN becomes null."""
    norms = project.layer_map("norm", recipe, progress.part(0.0, 0.4))
    found = _decompositions(project, recipe, progress.part(0.4, 0.5))
    for at, task in enumerate(project.tasks):
        for step, layer in enumerate(project.layers):
            found["norms"][task][layer.name] = norms.values[at][step]
    layer = busiest_layer(project, recipe)
    drawn = project.subspace_map(recipe, progress.part(0.5, 0.55))
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
        part = progress.part(0.55 + 0.2 * at / len(project.tasks), 0.55 + 0.2 * (at + 1) / len(project.tasks))
        found["stability"]["tasks"][task] = _stability(project.stability(task, layer.name, recipe, part))
        seen = first_patches(project, recipe, task, layer)
        found["patches"]["tasks"][task] = seen and _seen(seen)
    scaled = project.scaling_profile(recipe, progress.part(0.75, 1.0))
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


def _decompositions(project: Project, recipe: Recipe, progress: Progress) -> dict[str, Any]:
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
        progress(step / len(layers), f"measuring {layer.label}")
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
        "blank_left_out": record.blank_left_out,
        "all_blank": record.all_blank,
        "images": [
            {"image": image.image, "heat": [list(row) for row in image.heat], "class_token": image.class_token}
            for image in record.images
        ],
    }


def _finite(value: Any) -> Any:
    """Replace NaN by None throughout: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
