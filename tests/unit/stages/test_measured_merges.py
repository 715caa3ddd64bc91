"""In which form of the moments a merge is measured: the numbers are the same, and the memory stays within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from esm_viz.merge import with_parameters
from esm_viz.numerics.gram_svd import half_bytes
from esm_viz.numerics.interference import Pull
from esm_viz.project.project import Project
from esm_viz.stages import merge_stages
from tests.support.tiny import PROXIES, TASKS, recipe
from tests.support.watched import Watched

KEPT_ROWS = 2  # of three tasks, at c_proj: 30 and 20 tokens of 64 numbers, beside 70 of which M is kept


def measured(folder: Path, cache: Watched) -> list[tuple[Pull, ...]]:
    project = Project.open(recipe(folder), device="cpu", cache=cache)
    project.stages.run(project.recipe, True)
    return [project.stages.pulls(project.recipe, layer) for layer in project.layers]


def test_few_tokens_stay_as_they_are(tiny_folder: Path) -> None:
    assert sorted(5 * count for count in PROXIES.values()) == [20, 30, 70]
    cache = Watched()
    measured(tiny_folder, cache)
    assert "half_moment" not in cache.woken()


def test_halves_measure_the_same_and_depend_on_no_knob(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = measured(tiny_folder, Watched())
    monkeypatch.setattr(merge_stages, "worth_halves", lambda moments: True)
    cache = Watched()
    found = measured(tiny_folder, cache)
    for layer, expected in zip(found, truth, strict=True):
        for one, other in zip(layer, expected, strict=True):
            assert one == pytest.approx(other, rel=1e-12)
    assert "half_moment" in cache.woken()
    project = Project.open(recipe(tiny_folder), device="cpu", cache=cache)
    project.stages.run(with_parameters(project.recipe, task_exponent=0.7), True)
    assert "half_moment" not in cache.woken()


def test_halves_take_no_more_than_half_of_the_cache(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_stages, "worth_halves", lambda moments: True)
    cache = Watched()
    project = Project.open(recipe(tiny_folder), device="cpu", cache=cache)
    first, second = (layer for layer in project.layers if layer.d_in == 64)
    cache.limit = 2 * len(TASKS) * half_bytes(64)  # the first block's fill half of it
    for layer, made in ((second, False), (first, True)):
        cache.woken()
        project.stages.pulls(project.recipe, layer)
        assert ("half_moment" in cache.woken()) is made
