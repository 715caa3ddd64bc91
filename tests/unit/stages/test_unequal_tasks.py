"""Tasks with different numbers of proxies, so that some have fewer tokens than a layer has outputs and others more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from esm_viz.core.records import Layer
from esm_viz.merge import METHODS
from esm_viz.numerics.essential_subspace_decomposition import esd_of_all
from esm_viz.project.project import Project
from esm_viz.runtime.stage_cache import StageCache
from tests.support.tiny import TASKS, images, recipe, relative

COUNTS = {"ants": 2, "bees": 6, "cats": 14}  # 10, 30 and 70 tokens at layers of 16, 48 and 64 outputs

pytestmark = pytest.mark.usefixtures("threads")  # each test with one thread and with two


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("unequal") / "own"))
    for at, (task, count) in enumerate(COUNTS.items()):
        save_file({"images": images(count, 500 + at)}, place / f"{task}_proxies.safetensors")
    return place


@pytest.fixture(scope="module")
def project(folder: Path, threads: int) -> Project:
    return Project.open(recipe(folder), device="cpu")


def tokens(project: Project, task: str, layer: Layer) -> torch.Tensor:
    return project.stages.inputs(project.recipe, task, layer).flatten(0, 1).double()


def test_every_task_is_decomposed_by_its_own_tokens(project: Project) -> None:
    for layer in project.layers:
        for task, count in COUNTS.items():
            x = tokens(project, task, layer)
            assert len(x) == 5 * count
            shift = x @ project.stages.delta(project.recipe, task, layer.name).mT
            truth = torch.linalg.svdvals(shift).square() / (len(x) - 1)
            found = project.stages.decomposition(project.recipe, task, layer).eigenvalues
            k = min(len(truth), len(found))
            # tokens are float32, and products of them in another order round the weakest directions
            assert (found[:k] - truth[:k]).abs().max() < 1e-6 * truth[0], (task, layer.label)


def test_tasks_decomposed_in_one_call_are_what_they_are_alone(project: Project) -> None:
    """As on a GPU, where the tasks of a layer are one call."""
    stages, own = project.stages, project.recipe
    for layer in project.layers:
        deltas = [stages.delta(own, task, layer.name) for task in TASKS]
        moments = [stages.moment(own, task, layer) for task in TASKS]
        together = esd_of_all(deltas, moments, layer.d_out // len(TASKS))
        for task, found in zip(TASKS, together, strict=True):
            alone = stages.decomposition(own, task, layer)
            assert torch.equal(found.eigenvalues, alone.eigenvalues)
            assert torch.equal(found.vectors, alone.vectors)


@pytest.mark.parametrize("method", METHODS)
def test_the_cache_may_be_smaller_than_one_layer(project: Project, folder: Path, method: str) -> None:
    """Everything is computed again where nothing is kept, also labelled images, and is the same."""
    own = recipe(folder, method, alpha=0.5)
    tight = Project.open(own, device="cpu", cache=StageCache(20_000))
    truth = project.materialize(own)
    found = tight.materialize(own)
    assert all(relative(found[name], truth[name]) == 0 for name in truth)
    assert tight.evaluate(own, "test", 8).tasks == project.evaluate(own, "test", 8).tasks
    assert tight.stages.cache.bytes <= 20_000
