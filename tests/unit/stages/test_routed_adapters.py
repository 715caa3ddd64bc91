"""A project's adapters: what they are made of, what wakes them, and that they belong to the merge they stand beside."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.core.records import LAYER_ROLES
from esm_viz.families.prototype_routing import Adapters
from esm_viz.families.routed_tower import RoutedTower, routed_layers
from esm_viz.merge import METHODS, settle, static_part, with_method, with_parameters
from esm_viz.project.project import Project
from esm_viz.runtime.stage_cache import StageCache
from tests.support.tiny import C_FC, IN_PROJ, TASKS, images, mapping, recipe, relative
from tests.support.watched import Watched
from tests.support.watching import watch_inputs

pytestmark = pytest.mark.usefixtures("threads")  # each test with one thread and with two


@pytest.fixture(scope="module")
def project(tiny_folder: Path, threads: int) -> Project:
    return Project.open(recipe(tiny_folder, "esmpp", expert_rank=3, alpha=0.7), device="cpu")


def inputs(project: Project, own: Recipe, task: str, layer: str) -> Tensor:
    """Return X_t of a layer, (n, d_in), float64, by a forward pass of the fine-tuned model."""
    headers, seen = project.headers, {}
    tower = headers.arch.tower(headers.experts[task].tensors(headers.arch.shapes, torch.float32))
    watch_inputs(tower, project.layers, project.stages.proxies(own, task), lambda name, rows: seen.update({name: rows}))
    return seen[layer].flatten(0, 1).double()


def lacking(project: Project, own: Recipe, task: str, layer: str) -> Tensor:
    """Return δW_t = W_t − W_ESM with the merged weights as they are evaluated and exported."""
    merged = project.materialize(own)[layer].double()
    return load_file(project.recipe.folder / f"{task}.safetensors")[layer].double() - merged


@pytest.mark.parametrize("layer", [IN_PROJ, C_FC])
def test_experts_are_what_the_weights_on_screen_lack_where_outputs_show_it(project: Project, layer: str) -> None:
    own = project.recipe
    found = project.routed_adapters(own.replace(dtype="float64"))[layer]
    for at, task in enumerate(TASKS):
        x, residual = inputs(project, own, task, layer), lacking(project, own.replace(dtype="float64"), task, layer)
        leading = torch.linalg.svd(x @ residual.mT, full_matrices=False)[2][:3].mT
        assert relative(found.B[at] @ found.A[at], leading @ leading.mT @ residual) < 1e-9  # float64, clear gaps
        assert relative(found.prototypes[at], x.mean(0)) < 1e-6  # kept in float64, of float32 activations


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_experts_make_up_for_the_rounding_of_the_weights_beside_them(project: Project, dtype: str) -> None:
    own = with_parameters(project.recipe, expert_rank=128).replace(dtype=dtype)
    found = project.routed_adapters(own)[C_FC]
    assert (found.A.dtype, found.B.dtype) == (getattr(torch, dtype),) * 2
    assert found.prototypes.dtype == torch.float32  # they decide, and weigh next to nothing
    for at, task in enumerate(TASKS):
        # at full rank all of δW_t, δW_t being that of the rounded weights; A and B are rounded once more
        rounding = torch.finfo(getattr(torch, dtype)).eps
        assert relative(found.B[at].double() @ found.A[at].double(), lacking(project, own, task, C_FC)) < 2 * rounding


def test_every_set_of_families_is_routed_in_the_towers_order(project: Project) -> None:
    for families in METHODS["esmpp"].knobs["routed"].choices:
        found = tuple(project.routed_adapters(with_parameters(project.recipe, routed=families)))
        assert found == tuple(layer.name for layer in routed_layers(project.layers, families))
        assert len(found) == 2 * len(families.split("+"))


def test_there_is_every_set_of_families_once() -> None:
    choices = METHODS["esmpp"].knobs["routed"].choices
    assert len({frozenset(choice.split("+")) for choice in choices}) == len(choices) == 2 ** len(LAYER_ROLES) - 1


def test_methods_without_experts_have_none(project: Project) -> None:
    for method in set(METHODS) - {"esmpp"}:
        own = with_method(project.recipe, method)
        assert project.routed_adapters(own) == {}
        assert not isinstance(project.tower(own), RoutedTower)
        assert static_part(own) is own


def test_the_static_part_is_esm_with_the_same_settings(project: Project, tiny_folder: Path) -> None:
    own = with_parameters(project.recipe, task_exponent=1.3)
    static = static_part(own)
    assert static == settle(recipe(tiny_folder, "esm", alpha=0.7, task_exponent=1.3))
    merged, truth = project.materialize(own), project.materialize(static)
    assert all(torch.equal(merged[name], truth[name]) for name in truth)
    assert project.merge(own).interference == project.merge(static).interference
    assert project.sha256(own) != project.sha256(static)


def padded(adapters: Adapters) -> list[int]:
    return [int((A.abs().sum(1) > 0).sum()) for A in adapters.A]


def test_the_rank_is_capped_by_what_is_live_and_missing_rows_are_zero(tmp_path: Path, tiny_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "own"))
    save_file({"images": images(1, 900)}, folder / "bees_proxies.safetensors")  # 5 tokens: 5 directions at most
    project = Project.open(recipe(folder, "esmpp", expert_rank=12), device="cpu")
    found = project.routed_adapters(project.recipe)[C_FC]
    assert found.A.shape == (3, 12, 16)
    assert padded(found) == [12, 5, 12]
    assert not found.B[1, :, 5:].any()


def test_fine_tunes_that_equal_the_base_have_adapters_of_no_rank(tmp_path: Path, tiny_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "own"))
    for task in TASKS:
        shutil.copy(folder / "base.safetensors", folder / f"{task}.safetensors")
    project = Project.open(recipe(folder, "esmpp"), device="cpu")
    assert project.routed_adapters(project.recipe)[C_FC].A.shape == (3, 0, 16)
    features, routes = project.encode_routed(project.recipe, images(4, 1))
    assert relative(features, project.encode(with_method(project.recipe, "esm"), images(4, 1))) < 1e-7
    assert routes is not None
    assert routes.shape == (4, 4)


def test_expert_rank_wakes_the_experts_and_nothing_else(tiny_folder: Path) -> None:
    cache = Watched()
    project = Project.open(recipe(tiny_folder, "esmpp"), device="cpu", cache=cache)
    project.merge(project.recipe)
    project.routed_adapters(project.recipe)
    cache.woken()
    project.routed_adapters(with_parameters(project.recipe, expert_rank=4))
    assert cache.woken() == {"adapters"}
    project.merge(with_parameters(project.recipe, expert_rank=4))
    assert cache.woken() == set()


def test_families_that_were_routed_before_cost_nothing(tiny_folder: Path) -> None:
    cache = Watched()
    project = Project.open(recipe(tiny_folder, "esmpp"), device="cpu", cache=cache)
    project.routed_adapters(project.recipe)
    cache.woken()
    project.routed_adapters(with_parameters(project.recipe, routed="c_fc"))
    assert cache.woken() == set()
    project.routed_adapters(with_parameters(project.recipe, routed="c_fc+c_proj"))
    assert cache.woken() == {"adapters"}


def test_the_weights_are_shared_with_esm(tiny_folder: Path) -> None:
    cache = Watched()
    project = Project.open(recipe(tiny_folder), device="cpu", cache=cache)
    project.merge(project.recipe)
    project.materialize(project.recipe)
    cache.woken()
    routed = with_method(project.recipe, "esmpp")
    project.merge(routed)
    project.materialize(routed)
    assert cache.woken() == set()


CHANGES: dict[str, dict[str, Any]] = {
    "alpha": {"alpha": 0.4},
    "gain": {"gain": 1.0},
    "task power": {"task_exponent": 0.5},
    "layer power": {"layer_exponent": 0.5},
    "adapter rank": {"expert_rank": 2},
}


@pytest.mark.parametrize("what", [*CHANGES, "a weight", "a type"])
def test_a_changed_merge_has_the_adapters_of_a_fresh_cache(project: Project, tiny_folder: Path, what: str) -> None:
    own = project.recipe
    before = project.routed_adapters(own)[C_FC]
    if what == "a weight":
        own = own.replace(models=(dataclasses.replace(own.models[0], weight=0.3), *own.models[1:]))
    elif what == "a type":
        own = own.replace(dtype="float16")
    else:
        own = with_parameters(own, **CHANGES[what])
    shared = project.routed_adapters(own)
    fresh = Project.open(project.recipe, device="cpu").routed_adapters(own)
    for name, each in fresh.items():
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(shared[name], each, strict=True))
    assert shared[C_FC].A.shape != before.A.shape or not torch.equal(shared[C_FC].A.float(), before.A)


def test_one_changed_proxy_changes_the_experts_also_in_a_shared_cache(tmp_path: Path, tiny_folder: Path) -> None:
    folder, cache = Path(shutil.copytree(tiny_folder, tmp_path / "own")), StageCache()
    own = recipe(folder, "esmpp", expert_rank=3)
    before = Project.open(own, device="cpu", cache=cache).routed_adapters(own)[C_FC]
    proxies = load_file(folder / "bees_proxies.safetensors")
    proxies["images"][0, 0, 0, 0] += 1
    save_file(proxies, folder / "bees_proxies.safetensors")
    shared, fresh = Project.open(own, device="cpu", cache=cache), Project.open(own, device="cpu")
    assert torch.equal(shared.routed_adapters(own)[C_FC].A, fresh.routed_adapters(own)[C_FC].A)
    assert not torch.equal(shared.routed_adapters(own)[C_FC].prototypes, before.prototypes)


def test_a_single_task_has_adapters_of_its_own(tiny_folder: Path) -> None:
    raw = mapping("esmpp", expert_rank=128)
    del raw["models"][1:]
    project = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    found = project.routed_adapters(project.recipe)[C_FC]
    assert relative(found.B[0] @ found.A[0], lacking(project, project.recipe, "ants", C_FC)) < 1e-6  # float32
