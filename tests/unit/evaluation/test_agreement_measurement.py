"""Agreement of a merged model with the experts against forward passes written out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from esm_viz import with_parameters
from esm_viz.core.errors import Cancelled, ImagesError
from esm_viz.core.progress import Progress
from esm_viz.core.recipe import parse_mapping
from esm_viz.families.classification_head import COSINE_SCALE
from esm_viz.families.vision_tower import encode
from esm_viz.merge import settle
from esm_viz.numerics.expert_agreement import direction, divergence
from esm_viz.project.project import Project
from esm_viz.stages.cached_predictions import Scorer
from tests.support.tiny import TASKS, mapping, recipe


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    return Project.open(recipe(tiny_folder, alpha=0.4), device="cpu")


def without(folder: Path, *fields: str, method: str = "esm", tasks: int = 3) -> Project:
    raw = mapping(method, alpha=0.4)
    for model in raw["models"][:tasks]:
        for field in fields:
            del model[field]
    return Project.open(settle(parse_mapping(raw, folder)), device="cpu")


@pytest.mark.parametrize("method", ["esm", "esmpp", "averaging"])
def test_it_is_what_forward_passes_give(tiny_folder: Path, method: str) -> None:
    project = Project.open(recipe(tiny_folder, method), device="cpu")
    own = with_parameters(project.recipe, alpha=0.4) if method != "averaging" else project.recipe
    found = project.agreement(own)
    for row in found.tasks:
        images = project.stages.proxies(own, row.task)
        assert row.n == len(images)
        base, expert = (
            encode(model.make(), images) for model in (project.scorer.base(), project.scorer.expert(row.task))
        )
        merged = project.encode(own, images)
        head = project.headers.heads[row.task]
        assert row.same.correct == int((head.predict(expert) == head.predict(merged)).sum())
        kl = divergence(head.logits(expert), head.logits(merged))
        assert row.divergence.value == pytest.approx(float(kl.mean()), rel=1e-4, abs=1e-7)
        turned = direction(expert, merged, base)
        assert row.direction.value == pytest.approx(float(turned.nanmean()), abs=1e-5)
        assert row.divergence.low <= row.divergence.value <= row.divergence.high
        assert row.direction.low <= row.direction.value <= row.direction.high
    assert found.divergence.value == pytest.approx(sum(row.divergence.value for row in found.tasks) / len(TASKS))
    assert (found.same.correct, found.same.n) == (sum(row.same.correct for row in found.tasks), found.images)


def test_an_expert_agrees_with_itself(tiny_folder: Path) -> None:
    raw = mapping("averaging")
    raw["models"] = raw["models"][:1]
    alone = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    found = alone.agreement(alone.recipe)
    assert found.same.accuracy == 1.0
    assert found.divergence.value == pytest.approx(0.0, abs=1e-6)
    assert found.direction.value == pytest.approx(1.0, abs=1e-4)


def test_fewer_proxies_are_those_spread_over_all(project: Project) -> None:
    few = project.agreement(project.recipe, 3)
    assert [row.n for row in few.tasks] == [3] * len(TASKS)
    assert few.limit == 3
    assert project.agreement(project.recipe, 1000).tasks == project.agreement(project.recipe).tasks


def test_without_heads_direction_is_left(tiny_folder: Path) -> None:
    bare = without(tiny_folder, "validation", "test", "head", tasks=1)
    found = bare.agreement(bare.recipe)
    assert (found.tasks[0].same, found.tasks[0].divergence) == (None, None)
    assert found.tasks[1].same is not None
    assert (found.same, found.divergence, found.objective) == (None, None, "direction")
    assert found.height == found.direction.value
    assert "feature direction" in found.sentence


def test_a_task_without_proxies_is_told(tiny_folder: Path) -> None:
    bare = without(tiny_folder, "proxies", method="tsv_m", tasks=1)
    with pytest.raises(ImagesError, match=r"^ants has no proxies, give up to 32 unlabelled images"):
        bare.agreement(bare.recipe)


def test_a_base_given_as_an_expert_has_no_direction(tiny_folder: Path, tmp_path: Path) -> None:
    raw = mapping("esm", alpha=0.4)
    raw["models"][0]["path"] = "base.safetensors"
    part = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    found = part.agreement(part.recipe)
    assert math.isnan(found.tasks[0].direction.value)
    assert found.direction.value == pytest.approx(sum(row.direction.value for row in found.tasks[1:]) / 2)


def test_where_no_expert_changed_anything_the_sentence_says_so(tiny_folder: Path) -> None:
    raw = mapping("averaging")
    for model in raw["models"]:
        model["path"] = "base.safetensors"
    still = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    found = still.agreement(still.recipe)
    assert found.same.accuracy == 1.0
    assert found.sentence.endswith("no feature direction, since no expert changed the features.")


def test_what_is_cached_builds_no_tower_and_the_base_is_read_once(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Project.open(recipe(tiny_folder, alpha=0.4), device="cpu")
    built: list[str] = []
    plain = Scorer.tower
    monkeypatch.setattr(Scorer, "tower", lambda self, weights: built.append("tower") or plain(self, weights))
    first = fresh.agreement(fresh.recipe)
    assert len(built) == 2 + len(TASKS)  # the merged model, the base, and every expert
    built.clear()
    assert fresh.agreement(fresh.recipe).tasks == first.tasks
    assert built == []
    fresh.agreement(with_parameters(fresh.recipe, alpha=0.5))
    assert built == ["tower"]


def test_it_can_be_stopped(tiny_folder: Path) -> None:
    def stop(fraction: float, words: str) -> None:
        if fraction > 0.3:
            raise Cancelled

    fresh = Project.open(recipe(tiny_folder, alpha=0.4), device="cpu")
    with pytest.raises(Cancelled):
        fresh.agreement(fresh.recipe, progress=Progress(stop))


def test_a_scale_inside_the_head_changes_nothing(project: Project) -> None:
    head = project.headers.heads[TASKS[0]]
    features = torch.randn(5, head.weight.shape[1], generator=torch.Generator().manual_seed(0))
    scaled = type(head)(100.0 * head.weight, None, head.classes)
    assert torch.allclose(head.logits(features), scaled.logits(features), rtol=1e-5)
    cosines = torch.nn.functional.normalize(features, dim=-1) @ head.weight.mT / head.weight.norm(dim=1).mean()
    assert torch.allclose(head.logits(features), COSINE_SCALE * cosines, rtol=1e-5)
    classifier = type(head)(head.weight, torch.ones(len(head.weight)), head.classes, normalised=False)
    assert torch.allclose(classifier.logits(features), features @ head.weight.mT + 1, rtol=1e-5)
