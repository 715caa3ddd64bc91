"""Explore as one HTML page, and its pictures for a report; what is expensive is shown at one layer."""

from __future__ import annotations

from typing import get_args

from esm_viz import figures
from esm_viz.core.progress import Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Evaluation, Layer, Patches, Split
from esm_viz.figures.html_page import Picture, pictures_page
from esm_viz.figures.number_format import safe
from esm_viz.project.project import Project
from esm_viz.report.html_report import Story

_MAP_HEIGHT, _SQUARE = 340, 460  # px


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
    layer = busiest_layer(project, recipe)
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
        seen = first_patches(project, recipe, task, layer)
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
    return Story(project.inspection, pictures, shown, remarks=project.searched_on_test())


def _accuracy(project: Project, recipe: Recipe, record: Evaluation, progress: Progress) -> Picture:
    gains = project.difference("pretrained", recipe, record.split, progress=progress)
    figure = figures.accuracy_figure(record, base=True, difference=gains)
    return Picture(f"accuracy-{record.split}", f"Accuracy, {record.split}", figure)


def busiest_layer(project: Project, recipe: Recipe) -> Layer:
    """Return the layer where the tasks overlap most."""
    return project.layer_map("overlap", recipe).strongest


def first_patches(project: Project, recipe: Recipe, task: str, layer: Layer) -> Patches | None:
    """Return what a task's strongest direction sees; None where it has none."""
    moved = project.spectrum(task, layer.name, recipe).eigenvalues[0] > 0
    return project.patches(task, layer.name, 1, recipe) if moved and project.headers.arch.grid[0] else None
