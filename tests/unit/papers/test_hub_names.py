"""The papers' tables by names on the hub."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from esm_viz.cli import main
from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import HeadWords, Recipe, parse_mapping, parse_text
from esm_viz.hub.hub_name import parse_dataset, parse_model
from esm_viz.hub.recipe_names import check_names, downloaded
from esm_viz.papers.hub_names import BASES, TASKS, hub_table_recipe, remarks_on, with_class_names, with_known_data
from esm_viz.papers.papers_tasks import papers_tasks
from esm_viz.papers.published_accuracy import published
from tests.support import hub_models
from tests.support.loopback_hub import LoopbackHub, used_here


def test_every_task_of_the_papers_has_names_in_their_order() -> None:
    assert list(TASKS) == [task.name for task in papers_tasks()]


@pytest.mark.parametrize("arch", BASES)
@pytest.mark.parametrize(("count", "models"), [(8, 8), (14, 13), (20, 19)])
def test_the_recipe_of_a_table_is_made_of_names_alone(arch: str, count: int, models: int) -> None:
    recipe = hub_table_recipe(arch, count)
    check_names(recipe)
    assert len(recipe.models) == models
    assert recipe.paths == ()
    assert recipe.arch == f"{arch}-quickgelu"
    for model in recipe.models:
        assert parse_model(model.path).name.startswith(f"{BASES[arch]}_")
        assert parse_dataset(model.proxies).split == "train"
        assert parse_dataset(model.test).split == ("validation" if model.name == "Food101" else "test")
        assert not model.validation
        assert isinstance(model.head, HeadWords)
        assert len(model.head.classes) == len(set(model.head.classes))


def test_the_papers_numbers_stand_beside_the_table_of_the_same_tasks_alone() -> None:
    assert published("ViT-B-32-quickgelu", hub_table_recipe("ViT-B-32", 8).tasks)
    assert not published("ViT-B-32-quickgelu", hub_table_recipe("ViT-B-32", 14).tasks)  # without FER2013
    assert not published("ViT-B-32-quickgelu", hub_table_recipe("ViT-B-32", 20).tasks)  # letters, not digits


def test_what_differs_is_said_for_each_task() -> None:
    remarks = remarks_on(hub_table_recipe("ViT-B-32", 20).tasks)
    assert len(remarks) == 20
    assert "left out" in remarks["FER2013"]
    assert "letters" in remarks["EMNIST letters"]
    assert "split validation of ethz/food101" in remarks["Food101"]
    assert list(remarks_on(hub_table_recipe("ViT-B-32", 8).tasks)) == [task.name for task in papers_tasks()[:8]]
    assert remarks_on(["ants"]) == {}


@pytest.mark.parametrize(("arch", "count"), [("ViT-H-14", 8), ("ViT-B-32", 9), ({"embed_dim": 8}, 8)])
def test_what_the_hub_has_no_names_for_is_refused(arch: object, count: int) -> None:
    with pytest.raises(RecipeError):
        hub_table_recipe(arch, count)


def test_the_command_writes_it_and_asks_no_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.yaml"
    with LoopbackHub() as hub, used_here(hub, tmp_path / "home"):
        assert main(["papers", "--hub", "--arch", "ViT-B-32", "--tasks", "8", "--out", str(out)]) == 0
        assert hub.asked == []
    told = capsys.readouterr().out
    assert "note: SVHN: test images are the split test of ufldl-stanford/svhn:cropped_digits" in told
    assert "note: of every task:" in told
    assert parse_text(out.read_text(encoding="utf-8"), tmp_path).tasks == hub_table_recipe("ViT-B-32", 8).tasks


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--hub", "--data", "here"], "--hub and --data exclude each other"),
        (["--data", "here"], "the models and images are missing"),
        ([], "the models and images are missing"),
    ],
)
def test_names_and_files_exclude_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], wrong: str
) -> None:
    out = str(tmp_path / "table.yaml")
    assert main(["papers", "--arch", "ViT-B-32", "--tasks", "8", *words, "--out", out]) == 2
    assert wrong in capsys.readouterr().err


def with_models(*paths: str) -> Recipe:
    models = [{"name": path.rpartition("_")[2], "path": path} for path in paths]
    raw = {"merge_method": "esm", "arch": "ViT-B-32", "base_model": {"path": "hf://me/clip"}, "models": models}
    return parse_mapping(raw, Path())


def test_models_by_name_of_the_papers_tasks_get_their_images_and_others_stay() -> None:
    found = with_known_data(with_models("hf://me/clip_mnist", "hf://me/clip_ants", "files_mnist2"))
    assert found.models[0].proxies == "hf://datasets/ylecun/mnist/train"
    assert isinstance(found.models[0].head, HeadWords)
    assert found.models[1].proxies == found.models[2].proxies == ""


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (
            [f"{at} - {word}" for at, word in enumerate("zero one two three four five six seven eight nine".split())],
            None,
        ),
        ([*"9876543210"], tuple("0123456789")),
        (["a", "b", "c"], ()),
    ],
)
def test_a_data_sets_own_class_names_are_matched_to_the_rows(
    tmp_path: Path, names: list[str], classes: tuple[str, ...] | None
) -> None:
    recipe = with_models("hf://me/clip_mnist")
    table = "hf://datasets/me/digits/test"
    words = HeadWords(papers_tasks()[6].classes, papers_tasks()[6].templates)
    model = dataclasses.replace(recipe.models[0], test=table, head=words)
    with LoopbackHub() as hub, used_here(hub, tmp_path / "home"):
        hub.put("me/digits", {"data/test-0.parquet": hub_models.table(1, names)}, kind="datasets")
        hub.put("me/clip", {"model.safetensors": b"w"})
        hub.put("me/clip_mnist", {"model.safetensors": b"w"})
        found = with_class_names(downloaded(recipe.replace(models=(model,))))
    assert found.models[0].classes == (tuple(names) if classes is None else classes)
