"""Which decompositions a merge prepares: those that the cache does not have, whatever was computed before."""

from __future__ import annotations

from pathlib import Path

import pytest

from esm_viz.core.progress import Progress
from esm_viz.merge import with_parameters
from esm_viz.project.project import Project
from esm_viz.runtime.stage_cache import StageCache
from tests.support.tiny import TASKS, recipe


def told_by(project: Project, **knobs: float) -> list[tuple[float, str]]:
    """Merge with these knobs and return what progress was told."""
    told: list[tuple[float, str]] = []
    own = with_parameters(project.recipe, **knobs)
    project.stages.run(own, True, Progress(lambda fraction, words: told.append((fraction, words))))
    return told


def steps(told: list[tuple[float, str]]) -> set[str]:
    return {words.split()[0].rstrip(",") for _, words in told}


def push_out(cache: StageCache) -> None:
    """Empty a cache by lowering its limit, as other people's projects do with the room for this one."""
    limit, cache.limit = cache.limit, 0
    cache.get("something else", object)
    cache.limit = limit


@pytest.fixture
def project(tiny_folder: Path) -> Project:
    return Project.open(recipe(tiny_folder), device="cpu", cache=StageCache(1 << 28))


def test_decompositions_that_are_there_are_not_prepared_again(project: Project) -> None:
    assert steps(told_by(project)) == {"decomposing", "merging"}
    again = told_by(project, rank_ratio=0.5)
    assert steps(again) == {"merging"}
    assert again[0][0] == 0.0


def test_what_was_pushed_out_is_prepared_again(project: Project) -> None:
    essential = [layer for layer in project.layers if layer.essential]
    told_by(project)
    assert not project.stages.undecomposed(project.recipe, project.layers)
    push_out(project.stages.cache)
    assert project.stages.undecomposed(project.recipe, project.layers) == essential
    again = told_by(project, rank_ratio=0.5)
    assert steps(again) == {"decomposing", "merging"}
    assert {words.rsplit(" of ", 1)[1] for _, words in again if words.startswith("decomposing")} == set(TASKS)


def test_decompositions_of_one_layer_are_not_those_of_all(project: Project) -> None:
    first = next(layer for layer in project.layers if layer.essential)
    project.stages.prepare(project.recipe, [first])
    told = [words for _, words in told_by(project) if words.startswith("decomposing")]
    assert told
    assert not any(f" {first.label} of" in words for words in told)


def test_a_cache_that_cannot_keep_them_prepares_them_in_vain_once_only(tiny_folder: Path) -> None:
    tight = Project.open(recipe(tiny_folder), device="cpu", cache=StageCache(20_000))
    told_by(tight)
    assert tight.stages.undecomposed(tight.recipe, tight.layers)
    again = told_by(tight, rank_ratio=0.5)
    assert steps(again) == {"merging"}
    assert again[0][0] == 0.0


def test_decompositions_on_disk_are_there(tiny_folder: Path, tmp_path: Path) -> None:
    spilling = Project.open(recipe(tiny_folder), device="cpu", cache=StageCache(1 << 20, tmp_path))
    told_by(spilling)
    push_out(spilling.stages.cache)
    assert not spilling.stages.undecomposed(spilling.recipe, spilling.layers)
    assert steps(told_by(spilling, rank_ratio=0.5)) == {"merging"}


def test_methods_without_decompositions_lack_none(tiny_folder: Path) -> None:
    plain = Project.open(recipe(tiny_folder, "averaging"), device="cpu")
    assert plain.stages.undecomposed(plain.recipe, plain.layers) == []
