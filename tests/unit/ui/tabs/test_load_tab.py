"""The Load tab as anyone can call it: judged first, heavy work only when asked, and server paths only as listed ids."""

from __future__ import annotations

import copy
import dataclasses
import json
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from gradio_client.utils import strip_invalid_filename_characters
from safetensors.torch import load_file, save_file

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import parse_mapping
from esm_viz.project.project import Project
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.server import temporary_folders
from esm_viz.ui.session.project_to_load import Candidate
from esm_viz.ui.tabs.load import allowed_folder, load_tab
from esm_viz.ui.uploads import upload_unpack
from tests.support import tiny
from tests.support.errors import says
from tests.unit.ui.conftest import Page


@pytest.fixture
def offered(folder: Path, tmp_path: Path) -> Path:
    """Return a folder with three projects: one whole, one with wrong files, one without a recipe."""
    place = tmp_path / "offered"
    for name in ("whole", "team/broken", "named"):
        shutil.copytree(folder, place / name)
    raw = tiny.mapping(alpha=0.25)
    for name in ("whole", "team/broken"):
        (place / name / "recipe.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    broken = place / "team" / "broken"
    weights = load_file(broken / "ants.safetensors")
    save_file({name: t for name, t in weights.items() if "resblocks.1." not in name}, broken / "ants.safetensors")
    weights = load_file(broken / "bees.safetensors")
    weights["proj"][0, 0] = torch.nan
    save_file(weights, broken / "bees.safetensors")
    named = place / "named"
    config = {key: value for key, value in tiny.CONFIG.items() if key != "quick_gelu"}
    (named / "arch.json").write_text(json.dumps(config), encoding="utf-8")
    for task in tiny.TASKS:
        (named / f"{task}_head.safetensors").rename(named / f"{task}.head.safetensors")
        (named / f"{task}_validation.safetensors").rename(named / f"{task}.validation.safetensors")
        for part in ("proxies", "test"):
            (named / f"{task}_{part}.safetensors").unlink()
    return place


@pytest.fixture
def visitor(studio: Studio, offered: Path) -> Iterator[Page]:
    """Return a page of a studio whose operator allowed a folder."""
    page = Page(studio)
    page.session.place = dataclasses.replace(studio.place, folder=offered)
    yield page
    page.session.stop()


def rows(page: Page) -> dict[str, str]:
    """Return the verdicts on screen, by name."""
    candidate = page.session.candidate
    judgement = candidate.shown if candidate else page.session.project.judgement
    html = page.act("found", do="nothing")["found"]["html"]
    assert all(model.verdict.words in html or model.name in candidate.left_out for model in judgement.models)
    return {model.name: model.verdict.words for model in judgement.models}


def choose(page: Page, name: str) -> Candidate:
    page.act("source", do="source", value="folder")
    page.act("source", do="folder", value=name)
    page.rest()
    assert page.session.candidate is not None
    return page.session.candidate


def test_choosing_a_project_judges_it_and_starts_nothing_heavy(visitor: Page) -> None:
    before = visitor.session.project
    candidate = choose(visitor, "whole")
    assert visitor.session.project is before
    assert candidate.project is None  # not a weight was read
    assert rows(visitor)["bees"] == "Ready, with 6 of 32 proxy images"
    cost = visitor.pieces["cost"]["html"]
    assert "Decompose 3 experts, under 1 s" in cost
    assert 'data-do="decompose" aria-disabled' not in cost
    assert len(candidate.thumbs["bees"]) == 3


def test_decomposing_puts_it_on_screen_in_all_tabs(visitor: Page) -> None:
    choose(visitor, "whole")
    visitor.act("cost", do="decompose")
    visitor.rest()
    session = visitor.session
    assert (session.name, session.recipe.parameters["alpha"], session.candidate) == ("whole", 0.25, None)
    assert [accuracy.score.correct for accuracy in session.own] == [18, 18, 18]
    assert "whole: on screen in all tabs" in visitor.pieces["found"]["html"]
    assert visitor.pieces["map"]["figure"]["data"]


def test_wrong_files_are_left_out_one_kind_after_the_other_and_the_rest_is_merged(visitor: Page) -> None:
    candidate = choose(visitor, "team/broken")
    assert rows(visitor)["ants"] == "Refused: block 2 lacks 12 keys"
    assert candidate.reason == "First leave ants out"
    assert 'data-do="decompose" aria-disabled="true"' in visitor.pieces["cost"]["html"]
    visitor.act("cost", do="decompose")  # a hand-made message
    assert visitor.session.task is None or visitor.session.task.what != "Loading"
    before = visitor.session.project
    visitor.act("cost", do="leave", name="")
    assert candidate.left_out == {"ants"}
    visitor.act("cost", do="decompose")
    visitor.rest()
    assert visitor.session.project is before
    sentence = "bees: proj holds NaN, bees.safetensors, save it again"
    assert sentence in visitor.pieces["source"]["html"]
    assert rows(visitor)["bees"] == "Refused: holds NaN or Inf"
    visitor.act("cost", do="leave", name="bees")
    assert "1 of 3 experts" in visitor.pieces["cost"]["html"]
    visitor.act("cost", do="decompose")
    visitor.rest()
    assert visitor.session.project.tasks == ("cats",)


def test_a_task_is_left_out_and_taken_back(visitor: Page) -> None:
    candidate = choose(visitor, "whole")
    assert "2 of 3 experts" in visitor.act("found", do="leave", name="bees")["cost"]["html"]
    assert candidate.chosen.tasks == ("ants", "cats")
    assert "Take back" in visitor.pieces["found"]["html"]
    assert "3 of 3 experts" in visitor.act("found", do="take", name="bees")["cost"]["html"]
    for name in tiny.TASKS:
        visitor.act("found", do="leave", name=name)
    assert candidate.reason == "No expert is left"


def test_the_activation_is_asked_measured_and_said_by_the_visitor(visitor: Page) -> None:
    candidate = choose(visitor, "named")
    assert {model.verdict.words for model in candidate.judgement.refused} == {"Refused: no proxy images"}
    for task in tiny.TASKS:  # what a zip of images does in a browser, the tiny project has as tensors
        shutil.copy(visitor.session.place.folder / "whole" / f"{task}_proxies.safetensors", candidate.recipe.folder)
    models = (dataclasses.replace(m, proxies=f"{m.name}_proxies.safetensors") for m in candidate.recipe.models)
    candidate.recipe = candidate.recipe.replace(models=tuple(models))
    candidate.judge()
    assert candidate.reason == "First confirm the activation"
    assert "Measure both" in visitor.act("cost", do="nothing")["cost"]["html"]
    visitor.act("cost", do="activations")
    visitor.rest()
    quick, plain = (100 * mean for mean in candidate.activations.means)
    html = visitor.pieces["found"]["html"]
    assert f"QuickGELU {quick:.1f}" in html
    assert f"GELU {plain:.1f}" in html
    visitor.act("found", do="activation", value="quick")
    assert candidate.reason == ""
    assert candidate.recipe.arch_config["quick_gelu"] is True
    visitor.act("cost", do="own")
    visitor.rest()
    assert [accuracy.score.correct for accuracy in candidate.own] == [18, 18, 18]
    assert visitor.session.candidate is candidate  # still only proposed
    assert visitor.act("found", do="activation", value="plain")["found"]["html"].count("not run") == 3
    assert candidate.own == ()


def test_an_expert_near_chance_is_flagged_and_the_bar_has_the_mark_of_the_commonest_class(visitor: Page) -> None:
    for task in ("ants", "cats"):
        tiny.spread(visitor.session.place.folder / "whole", task)
    tiny.mislabel(visitor.session.place.folder / "whole", "bees")
    choose(visitor, "whole")
    visitor.act("cost", do="own")
    visitor.rest()
    html = visitor.pieces["found"]["html"]
    assert html.count("Near chance. Another task’s head?") == 1
    for task in tiny.TASKS:  # a mark on a bar of 104 px
        labels = load_file(visitor.session.place.folder / "whole" / f"{task}_validation.safetensors")["labels"]
        most = int(labels.bincount().max())
        assert f'<line x1="{104 * most / 24:.1f}"' in html
        if task != "bees":
            told = f"always the commonest class: {100 * most / 24:.0f} %"
            assert f"18 of 24 own validation images, 95 % interval 55 to 88 %; {told}" in html


def test_details_of_a_row_name_keys_head_and_data(visitor: Page) -> None:
    choose(visitor, "team/broken")
    html = visitor.act("found", do="row", name="ants")["found"]["html"]
    assert "12 keys missing" in html
    assert "transformer.resblocks.1.attn.in_proj_bias" in html
    assert "14 proxy images, 14 of them used; 24 validation and 24 test images" in html
    assert 'aria-expanded="true"' in html
    assert 'aria-expanded="true"' not in visitor.act("found", do="row", name="ants")["found"]["html"]


def test_going_back_to_the_opening_project_needs_the_button_too(visitor: Page) -> None:
    choose(visitor, "whole")
    visitor.act("cost", do="decompose")
    visitor.rest()
    mine, here = visitor.session.project, visitor.session.place
    html = visitor.act("source", do="source", value="demo")["cost"]["html"]
    assert "Go back to tiny" in html
    assert visitor.session.project is mine
    visitor.act("found", do="leave", name="bees")  # nothing to be decided there
    assert visitor.session.candidate.left_out == frozenset()
    visitor.act("cost", do="decompose")
    visitor.rest()
    assert visitor.session.project is here.demo


# Hostile messages.


def test_the_folder_lists_projects_by_their_names_from_it(offered: Path, tmp_path: Path) -> None:
    (offered / ".hidden").mkdir()
    shutil.copy(offered / "whole" / "recipe.yaml", offered / ".hidden")
    (offered / "empty").mkdir()
    outside = Path(shutil.copytree(offered / "whole", tmp_path / "outside"))
    (offered / "link").symlink_to(outside)
    assert allowed_folder.listed(offered) == ("named", "team/broken", "whole")


@pytest.mark.parametrize(
    "chosen", ["../outside", "whole/../../outside", "link", ".", "", "nothing", "team", "whole/", "\x00", "ABSOLUTE"]
)
def test_an_id_that_was_not_listed_is_refused(visitor: Page, tmp_path: Path, chosen: str) -> None:
    offered = visitor.session.place.folder
    outside = Path(shutil.copytree(offered / "whole", tmp_path / "outside"))
    (offered / "link").symlink_to(outside)
    chosen = str(outside) if chosen == "ABSOLUTE" else chosen
    with says(RecipeError, "there is no such project in this server's folder, choose one of the list"):
        allowed_folder.open_listed(offered, chosen)
    visitor.act("source", do="folder", value=chosen)
    visitor.rest()
    assert visitor.session.candidate is None
    assert "there is no such project in this server&#x27;s folder" in visitor.pieces["source"]["html"]


@pytest.mark.parametrize("value", [None, 3, ["whole"], {"value": "whole"}, True])
def test_an_id_that_is_no_text_changes_nothing(visitor: Page, value: Any) -> None:
    visitor.act("source", do="folder", value=value)
    visitor.rest()
    assert visitor.session.candidate is None


def test_where_no_folder_was_allowed_no_message_reaches_one(page: Page, offered: Path) -> None:
    html = page.act("source", do="source", value="folder")["source"]["html"]
    assert "Folder on this server" not in html
    assert page.session.view.source == "demo"
    for value in ("whole", str(offered / "whole")):
        page.act("source", do="folder", value=value)
        page.act("source", do="open", recipe=str(offered / "whole" / "recipe.yaml"))
    page.rest()
    assert page.session.candidate is None


@pytest.mark.parametrize("way", ["path", "file", "image", "recipe"])
def test_a_project_whose_files_lead_out_of_the_folder_is_refused(offered: Path, tmp_path: Path, way: str) -> None:
    whole, outside = offered / "whole", Path(shutil.copytree(offered / "whole", tmp_path / "outside"))
    raw = copy.deepcopy(tiny.mapping())
    if way == "path":
        raw["models"][0]["path"] = "../../outside/ants.safetensors"
    elif way == "file":
        (whole / "ants.safetensors").unlink()
        (whole / "ants.safetensors").symlink_to(outside / "ants.safetensors")
    elif way == "image":
        (whole / "pictures").mkdir()
        (outside / "secret.png").write_bytes(b"x")
        (whole / "pictures" / "a.png").symlink_to(outside / "secret.png")
        raw["models"][0]["proxies"] = "pictures"
    (whole / "recipe.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    if way == "recipe":
        (whole / "recipe.yaml").unlink()
        (whole / "recipe.yaml").symlink_to(outside / "recipe.yaml")
    with pytest.raises(RecipeError, match=r"outside this server's folder|there is no such project"):
        allowed_folder.open_listed(offered, "whole")


def test_another_visitors_proposal_is_out_of_reach(visitor: Page, studio: Studio) -> None:
    candidate = choose(visitor, "whole")
    other = Page(studio)
    for do, more in (("leave", {"name": "bees"}), ("activation", {"value": "plain"}), ("decompose", {})):
        other.act("cost", do=do, **more)
    other.rest()
    assert other.session.candidate is None
    assert (visitor.session.candidate, candidate.left_out) == (candidate, frozenset())


@pytest.mark.parametrize(
    "message",
    [
        {"do": "leave", "name": "nobody"},
        {"do": "leave", "name": None},
        {"do": "leave", "name": ["bees"]},
        {"do": "take", "name": {}},
        {"do": "activation", "value": "relu"},
        {"do": "activation", "value": "plain"},  # the recipe says it
        {"do": "activations"},
        {"do": "arch", "value": "ViT-B-32"},
        {"do": "arch", "value": []},
        {"do": "row", "name": 7},
        {"do": "source", "value": ["demo"]},
        {"do": ["leave"]},
    ],
)
def test_a_hand_made_message_changes_nothing(visitor: Page, message: dict[str, Any]) -> None:
    candidate = choose(visitor, "whole")
    before = (candidate.recipe, candidate.left_out, candidate.judgement.models, visitor.session.view.row)
    visitor.act("found", **message)
    visitor.rest()
    assert visitor.session.candidate is candidate
    assert (candidate.recipe, candidate.left_out, candidate.judgement.models, visitor.session.view.row) == before
    assert not visitor.session.errors


def test_names_that_a_visitor_chose_are_escaped(visitor: Page) -> None:
    raw = tiny.mapping()
    raw["models"][0]["name"] = "<img src=x onerror=alert(1)>"
    recipe = parse_mapping(raw, visitor.session.place.folder / "whole")
    visitor.session.candidate = Candidate.of_recipe("<b>mine</b>", recipe)
    pieces = visitor.act("found", do="row", name="<img src=x onerror=alert(1)>")
    for name in ("source", "found", "cost"):
        assert "<img src=x" not in pieces[name]["html"]
        assert "<b>mine" not in pieces[name]["html"]


# Uploads.


def test_an_upload_of_named_files_is_judged_with_its_wrong_file_beside_the_others(
    page: Page, folder: Path, tmp_path: Path
) -> None:
    files = [shutil.copy(folder / f"{name}.safetensors", tmp_path) for name in ("base", *tiny.TASKS)]
    heads = [(folder / f"{task}_head.safetensors", tmp_path / f"{task}.head.safetensors") for task in tiny.TASKS]
    files += [shutil.copy(source, target) for source, target in heads]
    (tmp_path / "cats.safetensors").write_bytes(b"not a checkpoint")
    (tmp_path / "arch.json").write_text(json.dumps(tiny.CONFIG), encoding="utf-8")
    target = tmp_path / "private"
    target.mkdir()
    recipe = upload_unpack.take([str(file) for file in [*files, tmp_path / "arch.json"]], target).recipe
    assert recipe.tasks == tiny.TASKS
    assert [model.head for model in recipe.models] == [f"{task}.head.safetensors" for task in tiny.TASKS]
    page.session.candidate = Candidate.of_recipe("Upload", recipe)
    verdicts = {model.name: model.verdict.words for model in page.session.candidate.judgement.models}
    assert verdicts["cats"] == "Refused: not a file of weights"
    assert verdicts["ants"] == "Refused: no proxy images"
    assert not page.session.candidate.asks  # arch.json says it


def test_an_upload_without_an_architecture_that_fits_says_what_to_add(folder: Path, tmp_path: Path) -> None:
    files = [str(shutil.copy(folder / f"{name}.safetensors", tmp_path)) for name in ("base", "ants")]
    target = tmp_path / "private"
    target.mkdir()
    remedy = "put its config.json beside it, or arch.json with an open_clip model config"
    text = f"no open_clip model has the shapes of base.safetensors, {remedy}"
    with says(RecipeError, text):
        upload_unpack.take(files, target)


def test_what_was_judged_can_be_opened_as_a_project(folder: Path, tmp_path: Path) -> None:
    candidate = Candidate.of_recipe("tiny", tiny.recipe(folder))
    assert candidate.reason == ""
    assert Project.open(candidate.chosen, device="cpu").tasks == tiny.TASKS


def zipped(path: Path, files: dict[str, Path | bytes]) -> str:
    """Write a zip of files or bytes by their names in it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else content.read_bytes())
    return str(path)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """Return the folder of one upload."""
    (tmp_path / "private").mkdir()
    return tmp_path / "private"


def test_zips_of_models_are_opened_and_zips_of_images_stay(folder: Path, private: Path, tmp_path: Path) -> None:
    (tmp_path / "arch.json").write_text(json.dumps(tiny.CONFIG), encoding="utf-8")
    config = b'{"model_type": "none"}'
    files = [
        zipped(tmp_path / "base.zip", {"model.safetensors": folder / "base.safetensors", "config.json": config}),
        zipped(
            tmp_path / "more.zip", {"ants/model.safetensors": folder / "ants.safetensors", "__MACOSX/._x.json": b""}
        ),
        zipped(tmp_path / "ants.zip", {"1.png": b"", "2.png": b""}),
        str(tmp_path / "arch.json"),
    ]
    found = upload_unpack.take(files, private)
    assert (found.recipe.base, found.recipe.models[0].path, found.recipe.models[0].proxies) == (
        *("base", "ants", "ants.zip"),
    )
    assert sorted(path.name for path in private.iterdir()) == ["ants", "ants.zip", "arch.json", "base"]
    assert not any(Path(file).exists() for file in files)  # moved, and a zip that was unpacked is not kept as well


def test_capital_suffixes_are_used_as_they_are_taken(folder: Path, private: Path, tmp_path: Path) -> None:
    (tmp_path / "arch.JSON").write_text(json.dumps(tiny.CONFIG), encoding="utf-8-sig")
    files = [
        str(shutil.copy(folder / "base.safetensors", tmp_path / "base.SAFETENSORS")),
        zipped(tmp_path / "more.ZIP", {"ants.SAFETENSORS": folder / "ants.safetensors"}),
        zipped(tmp_path / "ants.Zip", {"1.PNG": b"", "2.png": b""}),
        str(tmp_path / "arch.JSON"),
    ]
    recipe = upload_unpack.take(files, private).recipe
    assert (recipe.base, recipe.models[0].path, recipe.models[0].proxies) == (
        *("base.SAFETENSORS", "ants.SAFETENSORS", "ants.Zip"),
    )


def test_an_uploaded_recipe_without_arch_takes_the_config_beside_its_base(
    folder: Path, private: Path, tmp_path: Path
) -> None:
    raw = {key: value for key, value in tiny.mapping().items() if key != "arch"}
    config = json.dumps({"model_cfg": tiny.CONFIG}).encode()
    names = ("base", *tiny.TASKS)
    files: dict[str, Path | bytes] = {f"{name}.safetensors": folder / f"{name}.safetensors" for name in names}
    files |= {"recipe.yaml": yaml.safe_dump(raw).encode(), "open_clip_config.json": config}
    assert upload_unpack.take([zipped(tmp_path / "all.zip", files)], private).recipe.arch_config == tiny.CONFIG


def test_the_base_of_an_uploaded_recipe_without_arch_lies_in_the_upload(
    folder: Path, private: Path, tmp_path: Path
) -> None:
    raw = {key: value for key, value in tiny.mapping().items() if key != "arch"}
    raw["base_model"] = {"path": str(folder / "base.safetensors")}
    packed = zipped(tmp_path / "all.zip", {"recipe.yaml": yaml.safe_dump(raw).encode()})
    with says(RecipeError, "the recipe names 'base.safetensors', outside the upload, use paths beside the recipe"):
        upload_unpack.take([packed], private)


def test_names_with_marks_that_gradio_leaves_out_are_found_by_the_recipe(
    folder: Path, private: Path, tmp_path: Path
) -> None:
    raw = tiny.mapping()
    raw["models"] = [{**raw["models"][0], "name": "a{n}t!s $1", "path": "a{n}t!s $1.safetensors"}]
    raw["models"][0]["proxies"] = "{0}.zip"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    sent = {"base.safetensors": "base", "a{n}t!s $1.safetensors": "ants"}
    files = [
        str(shutil.copy(folder / f"{name}.safetensors", tmp_path / strip_invalid_filename_characters(named)))
        for named, name in sent.items()
    ]
    files += [zipped(tmp_path / strip_invalid_filename_characters("{0}.zip"), {"1.png": b""})]
    assert not Path(files[1]).name.startswith("a{")
    recipe = upload_unpack.take([*files, str(tmp_path / "recipe.yaml")], private).recipe
    (model,) = recipe.models
    assert (model.name, model.path, model.proxies) == ("a{n}t!s $1", "a{n}t!s $1.safetensors", "{0}.zip")
    assert recipe.resolve(model.path).is_file()
    assert recipe.resolve(model.proxies).is_file()


def test_a_zip_of_models_keeps_names_with_braces(folder: Path, private: Path, tmp_path: Path) -> None:
    files: dict[str, Path | bytes] = {
        "base.safetensors": folder / "base.safetensors",
        "{a}!.safetensors": folder / "ants.safetensors",
        "{a}!.proxies/1.png": b"",
        "arch.json": json.dumps(tiny.CONFIG).encode(),
    }
    recipe = upload_unpack.take([zipped(tmp_path / "all.zip", files)], private).recipe
    assert (recipe.tasks, recipe.models[0].proxies) == (("{a}!",), "{a}!.proxies")


def test_a_web_page_in_place_of_a_zip_is_told(private: Path, tmp_path: Path) -> None:
    (tmp_path / "ants.zip").write_text("<!DOCTYPE html><html>", encoding="utf-8")
    with says(RecipeError, "ants.zip is a web page, download the file itself"):
        upload_unpack.take([str(tmp_path / "ants.zip")], private)


def test_a_zip_cannot_replace_what_is_there(folder: Path, private: Path, tmp_path: Path) -> None:
    base = str(shutil.copy(folder / "base.safetensors", tmp_path))
    packed = zipped(tmp_path / "mine.zip", {"base.safetensors": folder / "ants.safetensors"})
    with says(RecipeError, "base.safetensors is there twice, give each file its own name"):
        upload_unpack.take([base, packed], private)


def receive(page: Page, folder: Path, *names: str) -> Path:
    """Upload named files of the tiny project; return where they lie then."""
    place = folder.parent / secrets.token_hex(4)
    place.mkdir()
    files = [str(shutil.copy(folder / f"{name}.safetensors", place)) for name in names]
    for name in names:
        if name != "base":
            part = folder / f"{name}_proxies.safetensors"
            files.append(str(shutil.copy(part, place / f"{name}.proxies.safetensors")))
    (place / "arch.json").write_text(json.dumps(tiny.CONFIG), encoding="utf-8")
    load_tab.receive(page.session, [*files, str(place / "arch.json")])
    page.rest()
    assert page.session.candidate is not None, page.session.errors
    return page.session.candidate.recipe.folder


def test_an_upload_goes_when_another_replaces_it_and_stays_while_it_is_on_screen(page: Page, folder: Path) -> None:
    first = receive(page, folder, "base", "ants")
    second = receive(page, folder, "base", "bees")
    assert [place.exists() for place in (first, second)] == [False, True]
    page.act("cost", do="decompose")
    page.rest()
    assert page.session.project.tasks == ("bees",)
    third = receive(page, folder, "base", "cats")
    page.act("source", do="source", value="demo")
    assert [place.exists() for place in (second, third)] == [True, False]
    page.act("cost", do="decompose")
    page.rest()
    assert not second.exists()
    assert page.session.uploads == []


def test_nothing_of_a_refused_upload_stays(page: Page, folder: Path, tmp_path: Path) -> None:
    load_tab.receive(page.session, [str(shutil.copy(folder / "ants.safetensors", tmp_path))])
    page.rest()
    assert "no base model is among the files" in page.session.errors["load"]
    assert list(tmp_path.iterdir()) == []
    assert [path.name for path in page.session.folder.iterdir()] == [temporary_folders.MARK]


def test_the_way_without_an_upload_is_offered_first_and_all_kinds_are_taken(visitor: Page, studio: Studio) -> None:
    html = visitor.act("source", do="source", value="upload")["source"]["html"]
    assert html.index("Folder on this server") < html.index("Upload") < html.index("tiny")
    assert "Large files need no upload" in html
    assert studio.drop.file_types == list(upload_unpack.KINDS)


def test_details_say_where_the_architecture_is_from_and_how_images_are_prepared(visitor: Page) -> None:
    (visitor.session.place.folder / "named" / "notes.pdf").write_bytes(b"")
    choose(visitor, "named")
    html = visitor.act("found", do="row", name="base")["found"]["html"]
    assert "ViT 2 x 16 as arch.json says" in html
    assert "16 x 16 pixels, bicubic, shorter side resized" in html
    assert "Not used: notes.pdf." in html


def test_the_allowed_folder_may_be_the_project_itself(offered: Path) -> None:
    assert "." not in allowed_folder.listed(offered)
    assert allowed_folder.listed(offered / "whole") == (".",)
    assert allowed_folder.open_listed(offered / "whole", ".").recipe.tasks == tiny.TASKS
