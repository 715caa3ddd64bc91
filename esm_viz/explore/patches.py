"""The image patches for which fine-tuning changed a layer's output most along one essential direction."""

from __future__ import annotations

from torch import Tensor

from esm_viz.core.errors import RecipeError
from esm_viz.core.progress import NO_PROGRESS, Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import HeatImage, Patch, Patches
from esm_viz.data.images.image_source import to_pixels, to_png
from esm_viz.stages.leading_directions import leading, task_key
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import recorded_question

MOST_PATCHES = 24  # several, since the strongest patches often lie in one image
BLANK_RANGE = 8  # grey levels of 255; compression changes one colour by less, and the eye sees no pattern in it


@recorded_question
def patches(
    project: OpenedProject,
    task: str,
    layer_name: str,
    direction: int,
    recipe: Recipe,
    most: int = MOST_PATCHES,
    progress: Progress = NO_PROGRESS,
) -> Patches:
    """Return the patches of a task's proxies with the largest |e_iᵀ ΔW_t x|, and the images that hold them.

    Blank patches (see `blank_patches`) are left out and counted, since their pixels do not show what the direction
    responds to; if there are no others, they are kept.

    Args:
        project: the opened project.
        task: the task t, whose expert, proxies and basis are used.
        layer_name: open_clip's name of the layer.
        direction: i, from 1 for the strongest.
        recipe: a recipe of this project.
        most: largest number of patches.
        progress: callback, may raise Cancelled.

    Raises:
        RecipeError: there is no direction of that number, or it has no energy.
    """
    stages, recipe, arch = project.stages, project.settled(recipe), project.headers.arch
    task, layer = project.known_task(task), project.layer(layer_name)
    if not arch.grid[0]:
        raise RecipeError(f"the tokens of {arch.title} are no grid of patches", "look at the other cards")
    progress(0.0, f"{task}, {layer.label}: decomposing")
    decomposition = stages.decomposition(recipe, task, layer)
    live = leading(decomposition, len(decomposition.eigenvalues)).shape[1]
    if not live:
        raise RecipeError(f"{task} did not change at {layer.label}", "choose another layer")
    if not 1 <= direction <= live:
        raise RecipeError(f"{task} has no direction {direction} at {layer.label}", f"use 1 to {live}")

    def compute() -> Tensor:
        progress(0.3, f"{task}, {layer.label}: reading the proxies")
        reads = decomposition.vectors[:, direction - 1] @ stages.delta(recipe, task, layer.name)
        return (stages.inputs(recipe, task, layer).to(reads.dtype) @ reads).abs().cpu()

    key = ("scores", direction, layer.name, stages.device, *task_key(stages, recipe, task))
    scores = stages.cache.get(key, compute)  # (images, tokens), the class token and registers first
    heat = scores[:, arch.first_tokens :].unflatten(1, arch.grid)
    progress(0.9, f"{task}, {layer.label}: drawing images")
    proxies, how = stages.proxies(recipe, task), stages.headers.proxies[task].how
    blank = blank_patches(to_pixels(proxies, how), arch.patch_size)
    all_blank = bool(blank.all())
    top = _largest(heat, ~blank | all_blank, most)
    held = list(dict.fromkeys(patch.image for patch in top))
    pictures = to_png(proxies[held], how)
    images = tuple(
        HeatImage(at, png, tuple(map(tuple, heat[at].tolist())), float(scores[at, : arch.first_tokens].sum()))
        for at, png in zip(held, pictures, strict=True)
    )
    return Patches(
        task=task,
        layer=layer,
        direction=direction,
        energy=float(decomposition.eigenvalues[direction - 1] / decomposition.eigenvalues.sum()),
        class_token_share=float(scores[:, : arch.first_tokens].square().sum() / scores.square().sum()),
        top=top,
        blank_left_out=0 if all_blank else int((heat[blank] >= top[-1].score).sum()),
        all_blank=all_blank,
        images=images,
    )


def blank_patches(pixels: Tensor, side: int) -> Tensor:
    """Say which patches are blank: in each colour, the lightest and the darkest pixel differ by BLANK_RANGE at most.

    Args:
        pixels: images, uint8, (n, 3, height, width).
        side: width and height of a patch in pixels; pixels that fill no whole patch are not read, as in the tower.

    Returns:
        (n, rows, columns), bool.
    """
    patches = pixels.int().unfold(2, side, side).unfold(3, side, side).flatten(4)  # (n, 3, rows, columns, pixels)
    return (patches.amax(-1) - patches.amin(-1)).amax(1) <= BLANK_RANGE


def _largest(heat: Tensor, counted: Tensor, most: int) -> tuple[Patch, ...]:
    """Return the patches with the largest scores of those that count, both (images, rows, columns).

    Of equal scores the first ones are returned.
    """
    order = heat[counted].sort(descending=True, stable=True).indices[:most]
    found = counted.nonzero()[order].tolist()
    return tuple(Patch(image, row, column, float(heat[image, row, column])) for image, row, column in found)
