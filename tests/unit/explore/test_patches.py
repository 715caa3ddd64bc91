"""Patches of a direction against scores worked out token by token."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from esm_viz.core.errors import RecipeError
from esm_viz.core.records import Patch, Patches
from esm_viz.data.images.image_source import to_pixels
from esm_viz.explore.patches import BLANK_RANGE, MOST_PATCHES, blank_patches
from esm_viz.project.project import Project
from tests.support.errors import says
from tests.support.tiny import C_FC, C_PROJ, IN_PROJ, PROXIES, recipe
from tests.unit.explore.conftest import shift_basis, tokens

GRID = 2  # 16 pixels a side, patches of 8
EVERY = {task: count * GRID * GRID for task, count in PROXIES.items()}  # patches of a task


@pytest.fixture(params=[IN_PROJ, C_FC, C_PROJ])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def places(record: Patches) -> list[tuple[int, int, int]]:
    return [(patch.image, patch.row, patch.column) for patch in record.top]


@pytest.mark.parametrize("direction", [1, 3])
def test_scores_are_the_shifts_component_along_the_direction(project: Project, name: str, direction: int) -> None:
    delta, x = tokens(project, "cats", name)
    along = shift_basis(delta, x, 8)[:, direction - 1]
    truth = (x @ delta.mT @ along).abs()
    record = project.patches("cats", name, direction, project.recipe, most=EVERY["cats"])
    assert len(record.images) == PROXIES["cats"]
    for image in record.images:
        found = torch.tensor([image.class_token, *(score for row in image.heat for score in row)], dtype=torch.float64)
        # directions agree to rounding over their gaps
        assert (found - truth[image.image]).abs().max() < 1e-6 * float(truth.max())


def test_squares_of_all_scores_are_the_eigenvalue(project: Project, name: str) -> None:
    record = project.patches("ants", name, 2, project.recipe, most=EVERY["ants"])
    patches = sum(patch.score**2 for patch in record.top)
    classes = sum(image.class_token**2 for image in record.images)
    spectrum = project.spectrum("ants", name, project.recipe)
    count = PROXIES["ants"] * (1 + GRID * GRID)
    assert (patches + classes) / (count - 1) == pytest.approx(spectrum.eigenvalues[1], rel=1e-9)
    assert record.class_token_share == pytest.approx(classes / (patches + classes), rel=1e-12)
    assert record.energy == pytest.approx(spectrum.eigenvalues[1] / sum(spectrum.eigenvalues), rel=1e-12)


def test_the_top_patches_are_the_largest_of_all_images(project: Project) -> None:
    few, every = (project.patches("bees", C_FC, 1, project.recipe, most=most) for most in (5, EVERY["bees"]))
    assert few.top == every.top[:5]
    scores = [patch.score for patch in every.top]
    assert scores == sorted(scores, reverse=True)
    assert len(set(places(every))) == EVERY["bees"]
    heat = {image.image: image.heat for image in every.images}
    assert every.top[0] == Patch(*places(every)[0], heat[every.top[0].image][every.top[0].row][every.top[0].column])
    assert [image.image for image in few.images] == list(dict.fromkeys(patch.image for patch in few.top))


@pytest.mark.parametrize(("levels", "blank"), [(0, True), (BLANK_RANGE, True), (BLANK_RANGE + 1, False)])
def test_a_patch_is_blank_if_no_colour_varies(levels: int, blank: bool) -> None:
    pixels = torch.randint(0, 256, (2, 3, 17, 17), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    colours = torch.tensor([200, 30, 100], dtype=torch.uint8)[:, None, None]
    pixels[1, :, 8:16, :8] = colours  # a colour of its own in each channel is no pattern
    pixels[1, 2, 12, 3] += levels
    found = blank_patches(pixels, 8)
    assert found.shape == (2, 2, 2)
    assert found.nonzero().tolist() == ([[1, 1, 0]] if blank else [])


def test_blank_patches_are_left_out_and_counted(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "files"))
    images = load_file(folder / "bees_proxies.safetensors")["images"]
    images[:, :, :8, 8:] = images[:, :, :1, 8:9]  # the upper right patch of every image is of one colour
    save_file({"images": images.contiguous()}, folder / "bees_proxies.safetensors")
    project = Project.open(recipe(folder), device="cpu")
    record = project.patches("bees", C_FC, 1, project.recipe)
    assert not record.all_blank
    assert record.top
    assert not [place for place in places(record) if place[1:] == (0, 1)]
    every = torch.tensor([image.heat for image in project.patches("bees", C_FC, 1, project.recipe, most=99).images])
    assert len(every) == PROXIES["bees"]
    assert record.blank_left_out == int((every[:, 0, 1] >= record.top[-1].score).sum()) > 0


def test_where_everything_is_blank_blank_patches_are_shown_and_said_to_be(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "files"))
    images = load_file(folder / "bees_proxies.safetensors")["images"]
    save_file({"images": images[:, :, :1, :1].expand_as(images).contiguous()}, folder / "bees_proxies.safetensors")
    project = Project.open(recipe(folder), device="cpu")
    record = project.patches("bees", C_FC, 1, project.recipe)
    assert (record.all_blank, record.blank_left_out) == (True, 0)
    assert len(record.top) == min(EVERY["bees"], MOST_PATCHES)


def test_images_come_with_their_own_pixels(project: Project) -> None:
    record = project.patches("bees", C_FC, 1, project.recipe)
    truth = to_pixels(project.stages.proxies(project.recipe, "bees")).permute(0, 2, 3, 1).numpy()
    for image in record.images:
        assert np.array_equal(np.array(Image.open(io.BytesIO(image.png))), truth[image.image])


def test_one_image_has_as_many_patches_as_it_has(extremes: Project) -> None:
    record = extremes.patches("once", C_FC, 1, extremes.recipe)
    assert sorted(places(record)) == [(0, row, column) for row in range(GRID) for column in range(GRID)]


def test_a_direction_that_carries_nothing_is_refused(project: Project, extremes: Project) -> None:
    with says(RecipeError, "bees has no direction 0 at c_fc 2, use 1 to 16"):
        project.patches("bees", C_FC, 0, project.recipe)
    with says(RecipeError, "once has no direction 6 at c_fc 2, use 1 to 5"):  # one image has 5 tokens
        extremes.patches("once", C_FC, 6, extremes.recipe)
    with says(RecipeError, "still did not change at c_fc 2, choose another layer"):
        extremes.patches("still", C_FC, 1, extremes.recipe)


def test_twins_see_the_same(extremes: Project) -> None:
    one, other = (extremes.patches(task, C_PROJ, 1, extremes.recipe) for task in ("ants", "twin"))
    assert (one.top, one.images) == (other.top, other.images)
