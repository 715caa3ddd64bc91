"""Exports: what open_clip loads, what the metadata says, and that nothing wrong or half-made is ever left."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from torch import Tensor

from esm_viz import __version__, load_recipe
from esm_viz.checkpoints.atomic_write import sha256_tensors, write_tensors, write_text
from esm_viz.cli.json_records import proof_json
from esm_viz.cli.text_records import proof_text
from esm_viz.core.errors import Cancelled, ExportError, ProofFailed
from esm_viz.core.progress import Progress
from esm_viz.core.recipe import parse_mapping, sha256_text
from esm_viz.core.records import WrittenFile
from esm_viz.export import verified_export
from esm_viz.merge import METHODS, settle, with_parameters
from esm_viz.project.project import Project
from tests.support import tiny
from tests.support.errors import says
from tests.support.exports import metadata_of, names
from tests.support.tiny import (
    C_FC,
    FULL_CONFIG,
    LABELLED,
    TASKS,
    base_weights,
    full_clip,
    images,
    mapping,
    open_clip_tower,
    recipe,
    relative,
)

FILES = ["README.md", "model.safetensors", "recipe.yaml"]
TENSOR_ROWS = ("tensors, SHA-256", "weights file, SHA-256", "number of tensors", "type of numbers", "layout")


def score_rows(split: str) -> list[str]:
    return [f"mean of 3 tasks, {split}", *(f"{task}, {LABELLED} {split} images" for task in TASKS)]


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    return Project.open(recipe(tiny_folder, alpha=0.7), device="cpu")


@pytest.fixture
def out(tmp_path: Path, project: Project) -> Path:
    """Return a folder with an export of the project."""
    project.export(project.recipe, tmp_path / "out")
    return tmp_path / "out"


# What is written.


def test_three_files_are_written_and_nothing_beside_them(out: Path) -> None:
    assert names(out) == FILES
    assert names(out.parent) == ["out"]


def test_the_file_holds_the_previews_tensors_bit_for_bit(out: Path, project: Project) -> None:
    written, shown = load_file(out / "model.safetensors"), project.materialize(project.recipe)
    assert set(written) == set(shown)
    assert all(torch.equal(written[name], shown[name]) for name in shown)


def test_open_clips_tower_loads_it_and_gives_the_previews_features(out: Path, project: Project) -> None:
    tower, pictures = open_clip_tower(), images(5, 9)
    tower.load_state_dict(load_file(out / "model.safetensors"), strict=True)
    with torch.inference_mode():
        features = tower(pictures)
    assert relative(project.encode(project.recipe, pictures), features) < 1e-6  # float32


def test_a_full_clip_is_written_as_a_full_clip_that_open_clip_loads(tmp_path: Path, tiny_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "in"))
    base = full_clip(base_weights())
    save_file(base, folder / "base.safetensors")
    raw = {**mapping(alpha=0.7), "arch": FULL_CONFIG}
    raw["models"][0]["head"] = {"classes": ["a", "b", "c", "d"], "templates": ["a photo of {}", "{}"]}
    project = Project.open(settle(parse_mapping(raw, folder)), device="cpu")
    project.export(project.recipe, tmp_path / "out")
    model, pictures = CLIP(**FULL_CONFIG).eval(), images(5, 9)
    open_clip.load_checkpoint(model, str(tmp_path / "out" / "model.safetensors"), strict=True)
    with torch.inference_mode():
        assert relative(project.encode(project.recipe, pictures), model.encode_image(pictures)) < 1e-6  # float32
    written = load_file(tmp_path / "out" / "model.safetensors")
    text = [name for name in base if not name.startswith("visual.")]
    assert len(text) > 10
    assert all(torch.equal(written[name], base[name]) for name in text)


def test_a_full_clip_merges_like_its_tower_alone(tmp_path: Path, tiny_folder: Path, project: Project) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "in"))
    save_file(full_clip(base_weights()), folder / "base.safetensors")
    full = Project.open(recipe(folder, alpha=0.7), device="cpu")
    assert sha256_tensors(full.materialize(full.recipe)) == sha256_tensors(project.materialize(project.recipe))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_types_are_written_as_asked(tmp_path: Path, project: Project, dtype: str) -> None:
    proof = project.export(project.recipe.replace(dtype=dtype), tmp_path / "out")
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {
        getattr(torch, dtype)
    }
    assert all(row.equal for row in proof.rows)


def test_the_metadata_is_what_the_recipe_page_promises(out: Path, project: Project, tiny_folder: Path) -> None:
    found = metadata_of(out / "model.safetensors")
    identity = project.canonical(project.recipe)
    files = {"base": "base", **{task: task for task in TASKS}}
    assert found == {
        "format": "pt",
        "esm_viz.version": __version__,
        "esm_viz.recipe": identity,
        "esm_viz.recipe_sha256": hashlib.sha256(identity.encode()).hexdigest(),
        "esm_viz.tensors_sha256": sha256_tensors(load_file(out / "model.safetensors")),
        "esm_viz.models": json.dumps(
            [
                {
                    "name": name,
                    "sha256": hashlib.sha256((tiny_folder / f"{file}.safetensors").read_bytes()).hexdigest(),
                }
                for name, file in files.items()
            ]
        ),
    }


def test_bit_for_bit_names_its_conditions(tmp_path: Path, project: Project, two_threads: None) -> None:
    """Another device, other versions or another number of threads may round otherwise."""
    proof = project.export(project.recipe, tmp_path / "out")
    named = (f"torch {torch.__version__}", f"numpy {np.__version__}", f"Python {platform.python_version()}")
    for condition in (*named, "CPU", "2 threads"):
        assert condition in proof.conditions
    told = f"bit for bit on {proof.conditions}"
    assert told in proof_text(proof)
    assert told in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert proof_json(proof)["conditions"] == proof.conditions


def test_the_proof_names_what_was_compared(tmp_path: Path, project: Project) -> None:
    proof = project.export(project.recipe, tmp_path / "out")
    assert [row.what for row in proof.rows] == [
        *TENSOR_ROWS,
        "recipe, SHA-256",
        "recipe in the weights",
        *score_rows("validation"),
        *score_rows("test"),
    ]
    assert all(row.equal for row in proof.rows)
    raw = (tmp_path / "out" / "model.safetensors").read_bytes()
    row = {row.what: row.in_file for row in proof.rows}
    assert proof.written[0] == WrittenFile("model.safetensors", len(raw), hashlib.sha256(raw).hexdigest())
    assert row["weights file, SHA-256"] == proof.written[0].sha256
    assert (row["type of numbers"], row["layout"]) == ("float32", "open_clip vision tower")
    assert row["number of tensors"] == str(len(base_weights()))
    means = [
        f"{100 * project.evaluate(project.recipe, split).mean('merged'):.2f} %" for split in ("validation", "test")
    ]
    assert [row[f"mean of 3 tasks, {split}"] for split in ("validation", "test")] == means
    assert proof.recipe_sha256 == project.sha256(project.recipe)
    assert (sorted(proof.files), proof.folder) == (FILES, str(tmp_path / "out"))


def test_without_labelled_images_the_tensors_are_still_proved(tmp_path: Path, tiny_folder: Path) -> None:
    raw = mapping()
    for model in raw["models"]:
        del model["validation"], model["test"]
    project = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    assert len(project.export(project.recipe, tmp_path / "out").rows) == len(TENSOR_ROWS) + 2
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "Not measured: the recipe names no labelled images." in card


def test_the_files_have_the_rights_of_new_ones_or_of_those_they_replace(tmp_path: Path, project: Project) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    project.export(project.recipe, tmp_path / "out")
    modes = {path.name: path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert modes == dict.fromkeys(FILES, plain.stat().st_mode)
    (tmp_path / "out" / "model.safetensors").chmod(0o664)
    project.export(project.recipe, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").stat().st_mode & 0o777 == 0o664


def test_no_file_names_an_absolute_path(out: Path, tiny_folder: Path) -> None:
    for path in out.iterdir():
        assert str(tiny_folder).encode() not in path.read_bytes()
        assert str(out.parent).encode() not in path.read_bytes()


def test_absolute_paths_in_a_recipe_become_relative_ones(tmp_path: Path, tiny_folder: Path) -> None:
    raw = mapping()
    raw["base_model"]["path"] = str(tiny_folder / "base.safetensors")
    for model in raw["models"]:
        for key in ("path", "proxies", "head", "validation", "test"):
            model[key] = str(tiny_folder / model[key])
    project = Project.open(settle(parse_mapping(raw, Path("elsewhere"))), device="cpu")
    for portable in (False, True):
        project.export(project.recipe, tmp_path / "out", portable=portable)
        for path in (tmp_path / "out").iterdir():
            assert str(tiny_folder).encode() not in path.read_bytes()


def test_a_portable_recipe_keeps_the_recipes_own_paths(tmp_path: Path, project: Project) -> None:
    project.export(project.recipe, tmp_path / "out", portable=True)
    assert load_recipe(tmp_path / "out" / "recipe.yaml").base == "base.safetensors"


@pytest.mark.parametrize("method", METHODS)
def test_merging_from_the_exports_own_recipe_gives_the_same_bits_and_hash(
    tmp_path: Path, tiny_folder: Path, method: str
) -> None:
    project = Project.open(recipe(tiny_folder, method, alpha=0.6).replace(seed=5), device="cpu")
    project.export(project.recipe, tmp_path / "out")
    again = Project.open(load_recipe(tmp_path / "out" / "recipe.yaml"), device="cpu")
    again.export(again.recipe, tmp_path / "again")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "again"))
    assert sha256_tensors(first) == sha256_tensors(second)
    assert metadata_of(tmp_path / "out" / "model.safetensors") == metadata_of(tmp_path / "again" / "model.safetensors")


def test_the_written_recipe_names_the_digest_of_every_file(out: Path, project: Project) -> None:
    written = load_recipe(out / "recipe.yaml")
    digests = project.stages.digests
    assert written.base_sha256 == digests["base.safetensors"]
    assert [model.sha256 for model in written.models] == [digests[f"{task}.safetensors"] for task in TASKS]


def test_the_written_recipe_refuses_a_file_that_was_changed(tmp_path: Path, tiny_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "in"))
    project = Project.open(recipe(folder), device="cpu")
    project.export(project.recipe, tmp_path / "out")
    weights = load_file(folder / "bees.safetensors")
    weights[C_FC][0, 0] += 1
    save_file(weights, folder / "bees.safetensors")
    with pytest.raises(Exception, match=r"^bees: SHA-256 is [0-9a-f]{12}…, the recipe names [0-9a-f]{12}…, bees"):
        Project.open(load_recipe(tmp_path / "out" / "recipe.yaml"), device="cpu")


def test_a_searched_alpha_is_written_as_the_number_that_was_found(tmp_path: Path, project: Project) -> None:
    searched = with_parameters(project.recipe, alpha="search")
    project.export(searched, tmp_path / "out")
    written = load_recipe(tmp_path / "out" / "recipe.yaml")
    assert written.parameters["alpha"] == project.search_alpha(project.recipe).alpha


def test_the_card_says_what_was_merged_and_how_well_it_does(out: Path, project: Project) -> None:
    card = (out / "README.md").read_text(encoding="utf-8")
    evaluation = project.evaluate(project.recipe)
    assert f"| recipe SHA-256 | `{project.sha256(project.recipe)}` |" in card
    for row in evaluation.tasks:
        assert f"| {row.task} | {row.merged.n} | {100 * row.pretrained.accuracy:.1f} |" in card
        assert f"| {row.task} | `{project.stages.digests[f'{row.task}.safetensors']}` |" in card


def test_exporting_again_replaces_the_files_and_leaves_others(out: Path, project: Project) -> None:
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    project.export(with_parameters(project.recipe, alpha=0.1), out)
    assert names(out) == sorted([*FILES, "notes.txt"])
    assert load_recipe(out / "recipe.yaml").parameters["alpha"] == 0.1


# What must not be left.


def tampered(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write, but with one bit of one number another one."""
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    changed[C_FC].view(torch.int32)[3, 5] ^= 1
    write_tensors(path, changed, metadata)


def test_one_wrong_bit_in_the_file_stops_the_export(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verified_export, "write_tensors", tampered)
    with says(ProofFailed, "the file differs from the preview in tensors, SHA-256, export again"):
        project.export(project.recipe, tmp_path / "out")
    assert not names(tmp_path)


def test_wrong_tensors_are_scored_anew_and_not_from_memory(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        write_tensors(path, base_weights(5), metadata)

    monkeypatch.setattr(verified_export, "write_tensors", other)
    with pytest.raises(ExportError) as refused:
        project.export(project.recipe, tmp_path / "out")
    assert "test images" in str(refused.value)
    assert not names(tmp_path)


def test_a_wrong_recipe_in_the_folder_stops_the_export(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(path: Path, text: str) -> None:
        write_text(path, text.replace("gain: 2.0", "gain: 2.5"))

    monkeypatch.setattr(verified_export, "write_text", other)
    with says(ProofFailed, "the file differs from the preview in recipe, SHA-256, export again"):
        project.export(project.recipe, tmp_path / "out")
    assert not names(tmp_path)


def test_a_wrong_recipe_in_the_weights_stops_the_export(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        write_tensors(path, tensors, {**metadata, "esm_viz.recipe": "{}"})

    monkeypatch.setattr(verified_export, "write_tensors", other)
    with says(ProofFailed, "the file differs from the preview in recipe in the weights, export again"):
        project.export(project.recipe, tmp_path / "out")
    assert not names(tmp_path)


@pytest.mark.parametrize("writer", ["write_tensors", "write_text"])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    def full(*arguments: Any) -> None:
        arguments[0].write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(verified_export, writer, full)
    text = "the export cannot be written (No space left on device), out, choose another folder"
    with says(ExportError, text):
        project.export(project.recipe, tmp_path / "deep" / "er" / "out")
    assert not names(tmp_path)


def test_a_failed_export_leaves_the_earlier_one_whole(
    out: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(verified_export, "write_tensors", tampered)
    with pytest.raises(ExportError):
        project.export(with_parameters(project.recipe, alpha=0.2), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_in_a_files_place_leaves_nothing_new(tmp_path: Path, project: Project) -> None:
    (tmp_path / "out" / "recipe.yaml").mkdir(parents=True)
    with says(ExportError, "recipe.yaml is there already and is no export, out, choose another folder"):
        project.export(project.recipe, tmp_path / "out")
    assert names(tmp_path / "out") == ["recipe.yaml"]
    assert names(tmp_path) == ["out"]


def test_somebodys_own_file_is_never_replaced(tmp_path: Path, project: Project) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    with says(ExportError, f"README.md is there already and is no export, {tmp_path.name}, choose another folder"):
        project.export(project.recipe, tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"


def test_the_models_it_is_made_from_are_never_replaced(tmp_path: Path) -> None:
    tiny.write_project(tmp_path)
    (tmp_path / "base.safetensors").rename(tmp_path / "model.safetensors")
    recipe = tiny.recipe(tmp_path).replace(base="model.safetensors")
    before = (tmp_path / "model.safetensors").read_bytes()
    with says(
        ExportError, f"model.safetensors is there already and is no export, {tmp_path.name}, choose another folder"
    ):
        Project.open(recipe, device="cpu").export(recipe, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_an_exports_own_recipe_cannot_replace_itself(out: Path) -> None:
    again = load_recipe(out / "recipe.yaml")
    with says(ExportError, "the export would replace its own recipe, out, choose another folder"):
        Project.open(again, device="cpu").export(again, out)


def test_a_linked_checkpoint_keeps_the_name_of_the_link(tmp_path: Path) -> None:
    tiny.write_project(tmp_path)
    (tmp_path / "base.safetensors").rename(tmp_path / "blob")
    (tmp_path / "base.safetensors").symlink_to(tmp_path / "blob")
    recipe = tiny.recipe(tmp_path)
    Project.open(recipe, device="cpu").export(recipe, tmp_path / "out")
    assert load_recipe(tmp_path / "out" / "recipe.yaml").base == "../base.safetensors"


def test_absolute_paths_of_equal_names_stay_apart_in_a_download(tmp_path: Path) -> None:
    tiny.write_project(tmp_path)
    recipe = tiny.recipe(tmp_path)
    models = []
    for model in recipe.models:
        folder = tmp_path / f"of-{model.name}"
        folder.mkdir()
        (tmp_path / model.path).rename(folder / "model.safetensors")
        models.append(dataclasses.replace(model, path=str(folder / "model.safetensors")))
    recipe = recipe.replace(models=tuple(models))
    Project.open(recipe, device="cpu").export(recipe, tmp_path / "out", portable=True)
    written = load_recipe(tmp_path / "out" / "recipe.yaml")
    assert [model.path for model in written.models] == [f"{task}/model.safetensors" for task in tiny.TASKS]


def test_putting_in_place_that_fails_halfway_restores_the_earlier_export(
    out: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    replace = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if Path(target) == out / "recipe.yaml" and self.read_bytes() != before["recipe.yaml"]:
            raise OSError(errno.EIO, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with says(ExportError, "the export cannot be written (Input/output error), out, choose another folder"):
        project.export(with_parameters(project.recipe, alpha=0.2), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert names(out.parent) == ["out"]


def test_a_file_where_the_folder_should_be_is_refused_and_kept(tmp_path: Path, project: Project) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with says(ExportError, "the export cannot be written (File exists), out, choose another folder"):
        project.export(project.recipe, tmp_path / "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("words", ["writing", "reading again", "putting in place"])
def test_cancelling_an_export_leaves_nothing(tmp_path: Path, project: Project, words: str) -> None:
    def stop(fraction: float, said: str) -> None:
        if said == words:
            raise Cancelled

    with says(Cancelled, "stopped, start it again to go on"):
        project.export(project.recipe, tmp_path / "out", Progress(stop))
    assert not names(tmp_path)


def test_the_recipe_in_the_metadata_hashes_to_the_hash_beside_it(out: Path) -> None:
    found = metadata_of(out / "model.safetensors")
    assert sha256_text(found["esm_viz.recipe"]) == found["esm_viz.recipe_sha256"]


def test_heads_of_the_user_s_own_are_never_moved_or_deleted(tmp_path: Path, project: Project) -> None:
    own = tmp_path / "heads" / "ants.safetensors"
    own.parent.mkdir()
    save_file({"weight": torch.ones(2, 3)}, own)
    before = own.read_bytes()
    for _ in range(2):  # into a folder that is no export yet, and over an export
        project.export(project.recipe, tmp_path)
        assert own.read_bytes() == before
    aside = tmp_path / ".12345678.part"  # an export that was killed while it moved its files
    aside.mkdir()
    (aside / "placing").write_text("model.safetensors", encoding="utf-8")
    verified_export.finish_interrupted(tmp_path)
    assert own.read_bytes() == before
