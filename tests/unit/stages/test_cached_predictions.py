"""Evaluation against a plain loop with open_clip, and the α search's manners."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from esm_viz.core.errors import DeviceError, HeadError, ImagesError
from esm_viz.core.recipe import parse_mapping
from esm_viz.core.records import Score
from esm_viz.data.images.image_source import ImageSet, evenly_spaced
from esm_viz.families.routed_tower import RoutedTower
from esm_viz.merge import settle, static_part, with_parameters
from esm_viz.project.project import Project
from esm_viz.runtime.device import resolve_device
from esm_viz.runtime.stage_cache import StageCache
from tests.support.errors import says
from tests.support.tiny import LABELLED, SIDE, TASKS, answers, filled, mapping, mislabel, recipe
from tests.support.watched import Watched

pytestmark = pytest.mark.usefixtures("threads")  # each test with one thread and with two


@pytest.fixture(scope="module")
def project(tiny_folder: Path, threads: int) -> Project:
    return Project.open(recipe(tiny_folder, alpha=0.4), device="cpu")


def right_by_hand(weights: dict[str, Tensor], folder: Path, task: str, split: str, chosen: list[int]) -> int:
    """Count right answers with open_clip's own tower, one image at a time."""
    tower, head = filled(weights), load_file(folder / f"{task}_head.safetensors")["weight"]
    labelled = load_file(folder / f"{task}_{split}.safetensors")
    return sum(
        int(answers(tower, head, labelled["images"][at : at + 1])[0]) == int(labelled["labels"][at]) for at in chosen
    )


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("limit", [0, 5])
def test_scores_are_those_of_a_plain_loop(project: Project, tiny_folder: Path, split: Any, limit: int) -> None:
    found = project.evaluate(project.recipe, split, limit)
    chosen = evenly_spaced(LABELLED, limit)
    for row in found.tasks:
        towers = {
            "pretrained": load_file(tiny_folder / "base.safetensors"),
            "finetuned": load_file(tiny_folder / f"{row.task}.safetensors"),
            "merged": project.materialize(project.recipe),
        }
        for which, weights in towers.items():
            score = getattr(row, which)
            assert (score.correct, score.n) == (
                right_by_hand(weights, tiny_folder, row.task, split, chosen),
                len(chosen),
            ), (row.task, which)


def test_the_expert_is_right_on_three_of_four(project: Project) -> None:
    assert [row.finetuned.correct for row in project.evaluate(project.recipe).tasks] == [18, 18, 18]


def test_the_three_models_are_told_apart(project: Project) -> None:
    rows = project.evaluate(project.recipe).tasks
    assert len({(row.pretrained.correct, row.finetuned.correct, row.merged.correct) for row in rows}) > 1
    assert any(row.pretrained.correct != row.merged.correct for row in rows)


def test_alpha_zero_scores_like_the_base(project: Project) -> None:
    rows = project.evaluate(with_parameters(project.recipe, alpha=0.0)).tasks
    assert [row.merged for row in rows] == [row.pretrained for row in rows]


def test_one_task_merged_by_averaging_scores_like_its_expert(tiny_folder: Path) -> None:
    raw = mapping("averaging")
    del raw["models"][1:]
    alone = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    (row,) = alone.evaluate(alone.recipe).tasks
    assert row.merged == row.finetuned
    assert row.normalised == 1.0


def test_the_record_says_what_it_was_measured_on(project: Project) -> None:
    found = project.evaluate(project.recipe, "validation", 5)
    assert (found.split, found.limit, found.method, found.alpha) == ("validation", 5, "esm", 0.4)
    assert found.recipe_sha256 == project.sha256(project.recipe)
    assert found.parameters == project.recipe.parameters


def test_base_and_experts_are_scored_once_for_all_recipes(tiny_folder: Path) -> None:
    ran: list[Any] = []

    class Watched(StageCache):
        def get(self, key: Any, compute: Any, spills: bool = False) -> Any:
            return super().get(key, lambda: ran.append(key) or compute(), spills)

    watched = Project.open(recipe(tiny_folder), device="cpu", cache=Watched(1 << 30))
    watched.evaluate(watched.recipe)
    ran.clear()
    watched.evaluate(with_parameters(watched.recipe, alpha=0.5))
    assert sum(key[0] == "predictions" for key in ran) == len(TASKS)


def test_a_split_that_is_not_there_is_told(tiny_folder: Path) -> None:
    raw = mapping()
    del raw["models"][1]["test"]
    project = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    assert (project.has_labels("test"), project.has_labels("validation")) == (False, True)
    with says(ImagesError, "bees has no labelled test images, give `test` and `head` in the recipe"):
        project.evaluate(project.recipe, "test")


# Routed experts.


@pytest.fixture(scope="module")
def routed(tiny_folder: Path, threads: int) -> Project:
    return Project.open(recipe(tiny_folder, "esmpp", alpha=1.0, expert_rank=4, routed="in_proj+c_proj"), device="cpu")


def one_by_one(project: Project, folder: Path, task: str, told: int | None = None) -> tuple[int, Tensor]:
    """Run a task's test images through the routed tower one at a time: right answers, and routes (layers, n)."""
    tower, head = project.tower(project.recipe), load_file(folder / f"{task}_head.safetensors")["weight"]
    assert isinstance(tower, RoutedTower)
    labelled, right = load_file(folder / f"{task}_test.safetensors"), 0
    with nullcontext() if told is None else tower.sent_to(told):
        for at in range(LABELLED):
            right += int(answers(tower, head, labelled["images"][at : at + 1])[0]) == int(labelled["labels"][at])
    return right, tower.take_routes()


def test_a_routed_model_is_scored_with_its_experts_and_its_routing_is_counted(
    routed: Project, tiny_folder: Path
) -> None:
    found = routed.evaluate(routed.recipe)
    assert found.routing is not None
    assert found.routing.tasks == TASKS
    assert [layer.label for layer in found.routing.layers] == ["in_proj 1", "c_proj 1", "in_proj 2", "c_proj 2"]
    for at, task in enumerate(TASKS):
        right, routes = one_by_one(routed, tiny_folder, task)
        assert found.tasks[at].merged == Score(right, LABELLED)
        assert found.routing.shares[at] == pytest.approx((routes == at).double().mean(1).tolist())
        assert found.routing.oracle[at] == Score(one_by_one(routed, tiny_folder, task, at)[0], LABELLED)
    assert 0.0 < found.routing.mean < 1.0  # some find their expert and some do not


def test_the_routed_the_static_and_the_told_model_are_told_apart(routed: Project) -> None:
    found = routed.evaluate(routed.recipe)
    static = routed.evaluate(static_part(routed.recipe))
    assert static.routing is None
    assert found.routing is not None
    kinds = [[row.merged for row in found.tasks], [row.merged for row in static.tasks], list(found.routing.oracle)]
    assert len({tuple(kind) for kind in kinds}) == 3


def test_the_overhead_is_counted_by_hand(routed: Project, tiny_folder: Path) -> None:
    routing = routed.evaluate(routed.recipe, limit=1).routing
    assert routing is not None
    # 2 blocks, 3 tasks, rank 4: in_proj 48 x 16 and c_proj 16 x 64, each with a prototype of its input's width
    assert routing.parameters == 2 * 3 * (4 * (48 + 16) + 16 + 4 * (16 + 64) + 64)
    assert routing.base_parameters == sum(t.numel() for t in load_file(tiny_folder / "base.safetensors").values())


def test_without_an_oracle_there_is_no_second_pass(routed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("an oracle was asked")

    fresh = Project.open(routed.recipe, device="cpu")
    monkeypatch.setattr(RoutedTower, "sent_to", never)
    found = fresh.evaluate(routed.recipe, oracle=False)
    assert found.routing is not None
    assert found.routing.oracle == ()


def test_routed_scores_are_kept_apart_by_rank_and_by_families(routed: Project) -> None:
    for changed in ({"expert_rank": 1}, {"routed": "c_fc"}):
        own = with_parameters(routed.recipe, **changed)
        fresh = Project.open(own, device="cpu").evaluate(own)
        shared = routed.evaluate(own)
        assert (shared.tasks, shared.routing) == (fresh.tasks, fresh.routing)


def test_the_search_measures_the_routed_model(routed: Project) -> None:
    found = routed.search_alpha(routed.recipe)
    best = routed.evaluate(with_parameters(routed.recipe, alpha=found.alpha), "validation")
    assert found.value == best.mean_normalised
    assert found.trace != routed.search_alpha(static_part(routed.recipe)).trace


# The α search.


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which image sets are decoded."""
    names: list[str] = []
    plain = ImageSet.__getattribute__

    def watched(self: ImageSet, name: str) -> Any:
        if name == "read":
            names.append(plain(self, "name"))
        return plain(self, name)

    monkeypatch.setattr(ImageSet, "__getattribute__", watched)
    return names


def test_the_search_reads_no_test_image(tiny_folder: Path, read: list[str]) -> None:
    project = Project.open(recipe(tiny_folder), device="cpu")
    project.search_alpha(project.recipe)
    assert {name for name in read if "validation" in name} == {f"{task}_validation.safetensors" for task in TASKS}
    assert not [name for name in read if "test" in name]


def test_the_search_returns_the_best_mean_normalised_validation_accuracy_it_saw(project: Project) -> None:
    found = project.search_alpha(project.recipe)
    for point in found.trace:
        evaluation = project.evaluate(with_parameters(project.recipe, alpha=point.alpha), "validation")
        truth = sum(row.merged.accuracy / row.finetuned.accuracy for row in evaluation.tasks) / len(TASKS)
        assert point.value == pytest.approx(truth, abs=1e-12)
    assert found.value == max(point.value for point in found.trace)
    assert found.images == len(TASKS) * LABELLED


def test_the_search_does_not_depend_on_the_alpha_it_starts_from(project: Project) -> None:
    starts = [project.search_alpha(with_parameters(project.recipe, alpha=alpha)) for alpha in (0.1, 2.0, "search")]
    assert starts[0] == starts[1] == starts[2]


@pytest.mark.parametrize(("fields", "search_on"), [((), "divergence"), (("head", "test"), "direction")])
def test_without_labels_the_search_measures_on_proxies(
    tiny_folder: Path, fields: tuple[str, ...], search_on: str
) -> None:
    raw = mapping()
    for field in ("validation", *fields):
        del raw["models"][0][field]
    project = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    found = project.search_alpha(project.recipe)
    assert found.search_on == search_on
    for point in found.trace:
        kept = project.agreement(with_parameters(project.recipe, alpha=point.alpha))
        truth = -kept.divergence.value if search_on == "divergence" else kept.direction.value
        assert point.value == truth
    assert found.value == max(point.value for point in found.trace)


def test_the_search_needs_labels_or_proxies(tiny_folder: Path) -> None:
    raw = mapping("tsv_m")
    for field in ("validation", "proxies"):
        del raw["models"][0][field]
    project = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    text = "there is nothing to measure by, give every task proxies, or labelled images and a head"
    with says(ImagesError, text):
        project.search_alpha(project.recipe)


def test_a_task_whose_expert_is_never_right_stops_the_search(tmp_path: Path, tiny_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "own"))
    mislabel(folder, "bees")
    project = Project.open(recipe(folder), device="cpu")
    text = "bees's expert is right on none of its 24 validation images, check its head and its labels"
    with says(HeadError, text):
        project.search_alpha(project.recipe)


def test_the_exported_model_scores_what_the_search_saw(project: Project, tmp_path: Path) -> None:
    found = project.search_alpha(project.recipe)
    project.export(with_parameters(project.recipe, alpha="search"), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    again = project.materialize(with_parameters(project.recipe, alpha=found.alpha))
    assert all(torch.equal(tensors[name], again[name]) for name in again)
    scores = project.scorer.score_tower(project.headers.arch.tower(tensors), "validation")
    experts = [row.finetuned for row in project.evaluate(project.recipe, "validation").tasks]
    shares = [score.accuracy / expert.accuracy for score, expert in zip(scores, experts, strict=True)]
    assert sum(shares) / len(shares) == found.value


# Devices.


def test_the_processor_is_always_there() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")


def test_an_unknown_device_is_refused() -> None:
    with says(DeviceError, "device is 'tpu', use auto, cpu or cuda"):
        resolve_device("tpu")


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with says(DeviceError, "this machine has no CUDA device that torch can use, use --device cpu"):
        resolve_device("cuda")


# Decoded images in the cache.


def test_images_push_no_decomposition_out(tiny_folder: Path) -> None:
    cache = Watched()
    project = Project.open(recipe(tiny_folder, alpha=0.4), device="cpu", cache=cache)
    project.evaluate(project.recipe, "test", 1)
    cache.limit = cache.bytes + 20_000  # less than one task's images
    assert 4 * 3 * SIDE * SIDE * LABELLED > 20_000
    project.evaluate(project.recipe, "validation")
    project.evaluate(project.recipe, "test")
    cache.woken()
    project.evaluate(with_parameters(project.recipe, rank_ratio=0.5), "test", 1)
    assert not cache.woken() & {"esd", "moments", "frame"}


def test_images_have_a_bound_of_their_own(tiny_folder: Path) -> None:
    one = 4 * 3 * SIDE * SIDE * LABELLED  # bytes of a task's images, which this project has as float32
    cache = StageCache(10 * one)
    project = Project.open(recipe(tiny_folder), device="cpu", cache=cache)
    project.evaluate(project.recipe, "validation")
    truth = project.evaluate(project.recipe, "test")
    assert one <= cache.images.bytes <= cache.images.limit < 3 * one
    again = Project.open(recipe(tiny_folder), device="cpu").evaluate(project.recipe, "test")
    assert truth.tasks == again.tasks


def test_images_of_a_project_that_is_gone_leave_the_cache(tiny_folder: Path) -> None:
    cache = StageCache()
    project = Project.open(recipe(tiny_folder), device="cpu", cache=cache)
    project.evaluate(project.recipe, "test")
    assert cache.images.bytes
    project.forget([])
    assert (cache.bytes, cache.images.bytes) == (0, 0)
