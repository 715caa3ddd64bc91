"""Broken images among a project's own: no score counts them, every model sees the same others, and all is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from esm_viz.cli.command_line import DONE, main
from esm_viz.core.errors import HeadError, ImagesError
from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.data.images.image_source import Preprocessing, open_images
from esm_viz.inspection.file_judgement import judge, measured, thumbnails
from esm_viz.project.project import Project
from tests.support import tiny
from tests.support.errors import says
from tests.support.pictures import folder_of, picture

COUNT = 40
TOLD = "1 of 40 images cannot be read (1/03.png) and are left out"


def files(broken: bool) -> dict[str, bytes]:
    return {f"{at % 4}/{at // 4:02}.png": picture(at)[: 70 if broken and at == 13 else None] for at in range(COUNT)}


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny project whose first task has images in folders, one of them broken."""
    place = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("left_out") / "own"))
    folder_of(place / "torn", files(broken=True))
    folder_of(place / "fewer", {name: raw for name, raw in files(broken=False).items() if name != "1/03.png"})
    return place


def recipe(folder: Path, images: str, **more: Any) -> Recipe:
    raw = tiny.mapping(alpha=0.4)
    raw["models"][0] |= {"validation": images, "test": images, "proxies": images, **more}
    return parse_mapping(raw, folder)


@pytest.mark.parametrize("limit", [0, 20])
def test_scores_are_those_without_the_broken_image(folder: Path, limit: int) -> None:
    torn = Project.open(recipe(folder, "torn"), device="cpu")
    found = torn.evaluate(torn.recipe, "test", limit).tasks[0]
    places = [at for at in ([*range(0, COUNT, 2)] if limit else range(COUNT)) if at != 13]
    assert found.merged.n == found.pretrained.n == found.finetuned.n == len(places)
    images = torn.headers.labelled["test"]["ants"]
    assert images.labels is not None
    for model in ("pretrained", "finetuned"):
        record = torn.confusion(model, "ants", "test", limit)
        assert sum(map(sum, record.counts)) == len(places)
    assert torn.difference("pretrained", "finetuned", "test", limit).pairs[0].n == len(places)


def test_a_whole_set_of_the_others_gives_the_same_scores(folder: Path) -> None:
    torn, fewer = (Project.open(recipe(folder, name), device="cpu") for name in ("torn", "fewer"))
    assert torn.evaluate(torn.recipe).tasks == fewer.evaluate(fewer.recipe).tasks
    assert torn.left_out[-1] == f"ants, test images: {TOLD}"
    assert fewer.left_out == ()


def test_who_finds_the_answers_in_the_cache_leaves_out_the_same(folder: Path) -> None:
    first = Project.open(recipe(folder, "torn"), device="cpu")
    before = first.evaluate(first.recipe)
    second = Project.open(recipe(folder, "torn"), device="cpu", cache=first.stages.cache)
    assert second.evaluate(second.recipe).tasks == before.tasks
    assert second.left_out == (f"ants, test images: {TOLD}",)


def test_places_are_those_of_the_images_that_were_asked(folder: Path) -> None:
    torn = Project.open(recipe(folder, "torn"), device="cpu")
    flips = torn.flips("pretrained", "finetuned", "ants")
    assert flips.n == COUNT - 1
    assert torn.scorer.places("ants", "test") == [at for at in range(COUNT) if at != 13]  # by name: 1/03.png is no. 13


def test_a_broken_proxy_is_replaced_whichever_seed(folder: Path) -> None:
    how = Preprocessing(tiny.SIDE)
    whole = {tuple(image.flatten().tolist()) for image in open_images(folder / "fewer", how).load(range(COUNT - 1))}
    torn = Project.open(recipe(folder, "torn"), device="cpu")
    for seed in range(4):
        proxies = torn.stages.proxies(torn.recipe.replace(seed=seed), "ants")
        assert len(proxies) == 32
        assert {tuple(image.flatten().tolist()) for image in proxies} <= whole
    assert "ants, proxies: 1 of 40 images" in torn.left_out[0]
    assert len(thumbnails(torn.recipe, judge(torn.recipe), 5)["ants"]) in (4, 5)


def test_load_tells_which_images_are_broken_once_they_were_read(folder: Path) -> None:
    torn = Project.open(recipe(folder, "torn"), device="cpu")
    before = judge(torn.recipe)
    after = measured(before, torn.own_accuracy())
    assert (before.experts[0].validation, after.experts[0].validation) == (COUNT, COUNT - 1)
    assert after.experts[0].verdict.words.endswith("broken") or "chance" in after.experts[0].verdict.words
    assert f"ants, validation images: {TOLD}" in torn.judgement.notes
    assert torn.judgement.experts[0].validation == COUNT - 1


def test_evaluate_says_what_it_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "torn.yaml"
    path.write_text(yaml.safe_dump(recipe(folder, "torn").as_mapping()))
    assert main(["evaluate", str(path), "--device", "cpu", "--json"]) == DONE
    found = json.loads(capsys.readouterr().out)
    assert found["tasks"]["ants"]["merged"]["n"] == COUNT - 1
    assert f"ants, test images: {TOLD}" in found["left_out"]
    assert main(["evaluate", str(path), "--device", "cpu"]) == DONE
    assert f"note: ants, test images: {TOLD}\n" in capsys.readouterr().out


def test_features_are_of_every_image_or_of_none(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "whole.yaml"
    path.write_text(yaml.safe_dump(recipe(folder, "fewer").as_mapping()))
    out = str(tmp_path / "f.safetensors")
    assert main(["encode", str(path), "--device", "cpu", "--images", str(folder / "torn"), "--out", out]) == 2
    assert capsys.readouterr().err.endswith("error: 1/03.png is not a readable image, torn, remove or replace it\n")


def test_nothing_is_scored_where_all_that_was_asked_for_is_broken(folder: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "own"))
    (place / "torn" / "0" / "00.png").write_bytes(b"")
    (place / "torn" / "1" / "03.png").write_bytes(picture(13))
    torn = Project.open(recipe(place, "torn"), device="cpu")
    with says(ImagesError, "none of the test images asked for can be read, ants, remove or replace them"):
        torn.evaluate(torn.recipe, "test", limit=1)


# What the images call the classes.


def test_a_recipe_may_say_what_the_images_call_the_rows(folder: Path) -> None:
    project = Project.open(recipe(folder, "fewer", classes=["3", "2", "1", "0"]), device="cpu")
    plain = Project.open(recipe(folder, "fewer"), device="cpu")
    turned, labels = (own.headers.labelled["test"]["ants"].labels for own in (project, plain))
    assert turned is not None
    assert labels is not None
    assert torch.equal(turned, 3 - labels)
    assert project.labels_digest("test") != plain.labels_digest("test")
    assert project.sha256(project.recipe) == plain.sha256(plain.recipe)  # the merge is the same


@pytest.mark.parametrize("classes", [["0", "1", "2"], ["0", "1", "2", "3", "4"]])
def test_it_names_each_row_once(folder: Path, classes: list[str]) -> None:
    text = f"`classes` names {len(classes)} classes for a head of 4 rows, model ants, name each row once"
    with says(HeadError, text):
        Project.open(recipe(folder, "fewer", classes=classes), device="cpu")


def test_a_name_that_it_gives_twice_is_refused_where_a_folder_has_it(folder: Path) -> None:
    with pytest.raises(ImagesError, match=r"the folder '2' may mean row 2 \('2'\) or row 3 \('2'\) of the head"):
        Project.open(recipe(folder, "fewer", classes=["0", "1", "2", "2"]), device="cpu")
