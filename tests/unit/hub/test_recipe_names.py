"""Names in a recipe: pinned, downloaded, kept in what is exported."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from esm_viz.core.errors import HubError
from esm_viz.core.recipe import Recipe, canonical, parse_text
from esm_viz.hub.recipe_names import check_names, downloaded, found_in_cache, planned
from esm_viz.inspection.recipe_file import arch_of, load_recipe
from esm_viz.project.project import Project
from tests.support import hub_models
from tests.support.loopback_hub import LoopbackHub


@pytest.fixture
def recipe(hub: LoopbackHub, tmp_path: Path) -> Recipe:
    """Return a recipe of models and images by name."""
    hub_models.put_models(hub, tmp_path)
    for at, task in enumerate(hub_models.TASKS):
        hub_models.put_dataset(hub, f"me/{task}", 10 * at)
    return parse_text(hub_models.recipe_text(tmp_path), tmp_path, arch_of=arch_of)


def test_a_recipe_is_pinned_downloaded_and_opened(hub: LoopbackHub, recipe: Recipe) -> None:
    found = downloaded(recipe)
    assert set(found.names) == set(found.downloaded)
    assert all("@" in name for name in found.names)
    project = Project.open(found, device="cpu")
    assert project.headers.proxies["ants"].count == 8
    identity = canonical(found, project.stages.digests)
    commit = hub.repositories["datasets/me/ants"].revisions["main"]
    assert f'"proxies":"hf://datasets/me/ants@{commit}:default/train"' in identity
    assert str(recipe.folder) not in identity


def test_other_commits_are_another_recipe(hub: LoopbackHub, recipe: Recipe) -> None:
    first = Project.open(downloaded(recipe), device="cpu")
    hub.put("me/ants", {**_files(hub, "datasets/me/ants"), "more.txt": b"1"}, kind="datasets")
    second = Project.open(downloaded(recipe), device="cpu")
    assert first.sha256(first.recipe) != second.sha256(second.recipe)


def _files(hub: LoopbackHub, key: str) -> dict[str, bytes]:
    repository = hub.repositories[key]
    return repository.commits[repository.revisions["main"]]


def test_what_was_downloaded_is_found_without_a_request(hub: LoopbackHub, recipe: Recipe) -> None:
    found = downloaded(recipe)
    hub.forget()
    assert found_in_cache(found) == found
    assert found_in_cache(recipe) == found
    assert hub.asked == []


def test_a_moved_repository_is_not_asked_about_where_the_recipe_has_its_commit(
    hub: LoopbackHub, recipe: Recipe
) -> None:
    found = downloaded(recipe)
    hub_models.put_dataset(hub, "me/ants", 77)
    assert downloaded(found.replace(downloaded={})) == found


def test_nothing_is_opened_that_is_not_downloaded(hub: LoopbackHub, recipe: Recipe) -> None:
    hub.forget()
    with pytest.raises(HubError, match=r"it is not downloaded, hf://me/tiny-clip, run `merge`"):
        Project.open(recipe, device="cpu")
    assert hub.asked == []


def test_paths_are_moved_and_names_stay(recipe: Recipe, tmp_path: Path) -> None:
    moved = recipe.seen_from(tmp_path / "elsewhere")
    assert moved.names == recipe.names
    assert moved.models[0].head == "../ants/head.safetensors"
    assert not any(path.startswith("hf://") for path in recipe.paths)


def test_a_name_of_the_wrong_kind_is_refused_before_a_request(hub: LoopbackHub, recipe: Recipe) -> None:
    hub.forget()
    first = recipe.models[0]
    for wrong, words in (
        ({"path": "hf://datasets/me/ants/train"}, "a data set has no weights"),
        ({"proxies": "hf://me/tiny-clip"}, "a model has no images"),
        ({"head": "hf://me/tiny-clip"}, "a head has no name on a hub"),
        ({"test": "hf://datasets/../x"}, "is no name on a hub"),
    ):
        changed = recipe.replace(models=(dataclasses.replace(first, **wrong), *recipe.models[1:]))  # type: ignore[arg-type]
        with pytest.raises(HubError, match=words):
            check_names(changed)
        with pytest.raises(HubError, match=words):
            planned(changed)
    assert hub.asked == []


def test_a_recipe_file_with_a_wrong_name_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "merge_method: averaging\narch: ViT-B-32\nbase_model: {path: 'hf://a/../b'}\nmodels: [{name: a, path: b}]"
    )
    with pytest.raises(HubError, match=r"hf://a/../b is no name on a hub"):
        load_recipe(path)
