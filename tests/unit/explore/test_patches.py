"""Patches of a direction against scores worked out token by token."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from esm_viz.core.errors import RecipeError
from esm_viz.core.records import Patch, Patches
from esm_viz.data.images.image_source import to_pixels
from esm_viz.project.project import Project
from tests.support.errors import says
from tests.support.tiny import C_FC, C_PROJ, IN_PROJ, PROXIES
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
