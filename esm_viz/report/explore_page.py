"""Everything that Explore knows of a project, as the JSON that RECIPE promises, as one page, and for a report.

What is dear a layer (stability, patches) is measured at one layer: where the tasks overlap most.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, get_args

from esm_viz import figures
from esm_viz.core.progress import Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Evaluation, Layer, Patches, Split, Stability
from esm_viz.explore.overlap import pairs_of
from esm_viz.figures.html_page import Picture, pictures_page
from esm_viz.figures.number_format import safe
from esm_viz.project.project import Project
from esm_viz.report.html_report import Story

SHARES = (0.5, 0.9, 0.99)
_MAP_HEIGHT, _SQUARE = 340, 460  # px


def explore_json(project: Project, recipe: Recipe, progress: Progress) -> dict[str, Any]:
    """Return every exploration as numbers; NaN becomes null."""
    norms = project.layer_map("norm", recipe, progress.part(0.0, 0.4))
    found = _decompositions(project, recipe, progress.part(0.4, 0.5))
    for at, task in enumerate(project.tasks):
        for step, layer in enumerate(project.layers):
            found["norms"][task][layer.name] = norms.values[at][step]
    layer = _busiest(project, recipe)
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
        seen = _patches(project, recipe, task, layer)
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


def explore_page(project: Project, recipe: Recipe, progress: Progress) -> str:
    """Return one HTML page: what concerns all layers, then the layer where the tasks overlap most."""
    said = f"{project.inspection.arch}, {len(project.tasks)} tasks: {', '.join(project.tasks)}."
    return pictures_page("Where did fine-tuning change the model?", said, explore_pictures(project, recipe, progress))


def explore_pictures(project: Project, recipe: Recipe, progress: Progress) -> list[Picture]:
    """Return the pictures of that page."""
    maps = [(kind, how.name, project.layer_map(kind, recipe, progress)) for kind, how in figures.KINDS.items()]
    pictures = [
        Picture(f"map-{kind}", title, figures.layer_map_figure(record), _MAP_HEIGHT) for kind, title, record in maps
    ]
    layer = _busiest(project, recipe)
    shared = project.overlap(layer.name, recipe)
    scaling = figures.scaling_figure(project.scaling_profile(recipe))
    drawn = figures.subspace_map_figure(project.subspace_map(recipe))
    pictures += [
        Picture("scaling", "Levels of scaling", scaling, _SQUARE),
        Picture("subspaces", "Subspace map", drawn, _SQUARE),
        Picture("overlap", f"Overlap at {layer.label}", figures.overlap_figure(shared), _SQUARE),
    ]
    for at, task in enumerate(project.tasks):
        where = f"{layer.label}, {safe(task)}"
        spectrum = figures.spectrum_figure(project.spectrum(task, layer.name, recipe), at)
        stability = figures.stability_figure(project.stability(task, layer.name, recipe), at)
        pictures += [
            Picture(f"spectrum-{at + 1}", where, spectrum),
            Picture(f"stability-{at + 1}", f"{where}: stability", stability),
        ]
    for task in sorted(project.tasks, key=lambda name: -sum(shared.values[project.tasks.index(name)])):
        seen = _patches(project, recipe, task, layer)
        if seen:  # one task's images are enough for a page that is sent around
            pictures.append(Picture("patches", f"{layer.label}, {safe(task)}: patches", figures.patches_figure(seen)))
            break
    return pictures


def story(project: Project, recipe: Recipe, progress: Progress) -> Story:
    """Return what a report shows of a merge: its accuracy, interference and norms, then how its experts differ."""
    shown = tuple(
        project.evaluate(recipe, split, progress=progress, oracle=False)
        for split in get_args(Split)
        if project.has_labels(split)
    )
    merged = project.merge(recipe, progress)
    pictures = [
        *(_accuracy(project, recipe, record, progress) for record in shown),
        Picture("interference", "Interference", figures.interference_figure(merged.interference), _MAP_HEIGHT),
        Picture("norms", "Size of the merged change", figures.norms_figure(merged.norms)),
    ]
    if all(model.proxies for model in recipe.models):
        pictures += explore_pictures(project, recipe, progress)
    return Story(project.inspection, pictures, shown)


def _accuracy(project: Project, recipe: Recipe, record: Evaluation, progress: Progress) -> Picture:
    gains = project.difference("pretrained", recipe, record.split, progress=progress)
    figure = figures.accuracy_figure(record, base=True, difference=gains)
    return Picture(f"accuracy-{record.split}", f"Accuracy, {record.split}", figure)


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


def _finite(value: Any) -> Any:
    """Replace NaN by None throughout: JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
