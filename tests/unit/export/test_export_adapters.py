"""Exports of a routed model: two files that alone give it back, and that refuse to be mixed with others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from esm_viz import __version__, load_recipe
from esm_viz.checkpoints.atomic_write import sha256_tensors, write_tensors
from esm_viz.core.errors import DigestMismatch, ExportError, ShapeMismatch
from esm_viz.core.recipe import parse_mapping
from esm_viz.export import verified_export
from esm_viz.families.model_families import architecture_of
from esm_viz.families.routed_tower import RoutedTower, load_routed
from esm_viz.families.vision_tower import encode
from esm_viz.merge import settle, static_part, with_method, with_parameters
from esm_viz.project.project import Project
from tests.support.errors import says
from tests.support.exports import metadata_of, names
from tests.support.tiny import (
    C_FC,
    CONFIG,
    FULL_CONFIG,
    LABELLED,
    TASKS,
    base_weights,
    filled,
    full_clip,
    images,
    mapping,
    recipe,
    relative,
)
from tests.unit.export.test_verified_export import TENSOR_ROWS, score_rows

FILES = ["README.md", "experts.safetensors", "model.safetensors", "recipe.yaml"]
PICTURES = images(9, 9)
MIXED = (
    "adapters: they were made for other weights than model.safetensors holds, experts.safetensors, use the two files"
)


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    return Project.open(
        recipe(tiny_folder, "esmpp", alpha=0.7, expert_rank=4, routed="in_proj+c_fc+out_proj"), device="cpu"
    )


@pytest.fixture
def out(tmp_path: Path, project: Project) -> Path:
    project.export(project.recipe, tmp_path / "out")
    return tmp_path / "out"


def reload(folder: Path, config: dict[str, Any] = CONFIG) -> RoutedTower:
    return load_routed(architecture_of("", config), folder / "model.safetensors", folder / "experts.safetensors")


def test_four_files_are_written_and_the_proof_has_a_row_for_the_experts(tmp_path: Path, project: Project) -> None:
    proof = project.export(project.recipe, tmp_path / "out")
    assert names(tmp_path / "out") == sorted(proof.files) == FILES
    assert [row.what for row in proof.rows] == [
        *TENSOR_ROWS,
        *("recipe, SHA-256", "recipe in the weights", "adapters, SHA-256", "recipe in the adapters"),
        *score_rows("validation"),
        *score_rows("test"),
    ]
    assert all(row.equal for row in proof.rows)
    merged = [f"{row.merged.correct} of {LABELLED} right" for row in project.evaluate(project.recipe).tasks]
    assert [row.in_file for row in proof.rows[-3:]] == merged


def test_the_two_files_alone_give_features_and_routes_back(out: Path, project: Project) -> None:
    features, routes = project.encode_routed(project.recipe, PICTURES)
    again = reload(out)
    assert torch.equal(encode(again, PICTURES), features)
    assert routes is not None
    assert torch.equal(again.take_routes(), routes)
    assert again.tasks == TASKS
    assert again.layers == tuple(project.routed_adapters(project.recipe))


def test_the_model_file_alone_is_esms_which_open_clip_loads(out: Path, project: Project) -> None:
    weights = load_file(out / "model.safetensors")
    assert sha256_tensors(weights) == sha256_tensors(project.materialize(static_part(project.recipe)))
    with torch.inference_mode():
        features = filled(weights)(PICTURES)
    assert relative(features, project.encode(static_part(project.recipe), PICTURES)) < 1e-6  # float32


def test_the_metadata_says_what_the_experts_belong_to(out: Path, project: Project) -> None:
    found, weights = metadata_of(out / "experts.safetensors"), metadata_of(out / "model.safetensors")
    assert {key: value for key, value in found.items() if weights.get(key) == value} == {
        key: weights[key]
        for key in ("format", "esm_viz.version", "esm_viz.recipe", "esm_viz.recipe_sha256", "esm_viz.models")
    }
    assert found["esm_viz.version"] == __version__
    assert json.loads(found["esm_viz.tasks"]) == list(TASKS)
    assert json.loads(found["esm_viz.layers"]) == list(project.routed_adapters(project.recipe))
    assert found["esm_viz.model_sha256"] == weights["esm_viz.tensors_sha256"]
    assert found["esm_viz.tensors_sha256"] == sha256_tensors(load_file(out / "experts.safetensors"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_experts_are_written_in_the_type_that_was_asked_for(tmp_path: Path, project: Project, dtype: str) -> None:
    own = project.recipe.replace(dtype=dtype)
    assert all(row.equal for row in project.export(own, tmp_path / "out").rows)
    found = {
        name.rpartition("/")[2]: tensor.dtype
        for name, tensor in load_file(tmp_path / "out" / "experts.safetensors").items()
    }
    kept = getattr(torch, dtype)
    assert found == {"A": kept, "B": kept, "prototypes": torch.float64 if dtype == "float64" else torch.float32}
    assert torch.equal(encode(reload(tmp_path / "out"), PICTURES), project.encode(own, PICTURES))


def test_merging_from_the_exports_own_recipe_gives_the_same_experts(tmp_path: Path, out: Path) -> None:
    again = Project.open(load_recipe(out / "recipe.yaml"), device="cpu")
    again.export(again.recipe, tmp_path / "again")
    for name in ("model.safetensors", "experts.safetensors"):
        assert sha256_tensors(load_file(out / name)) == sha256_tensors(load_file(tmp_path / "again" / name))
        assert metadata_of(out / name) == metadata_of(tmp_path / "again" / name)


def test_a_full_clip_keeps_its_layout_and_is_loaded_with_its_experts(tmp_path: Path, tiny_folder: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "in"))
    save_file(full_clip(base_weights()), folder / "base.safetensors")
    raw = {**mapping("esmpp", alpha=0.7, expert_rank=4), "arch": FULL_CONFIG}
    full = Project.open(settle(parse_mapping(raw, folder)), device="cpu")
    full.export(full.recipe, tmp_path / "out")
    assert any(name.startswith("visual.") for name in load_file(tmp_path / "out" / "model.safetensors"))
    assert torch.equal(encode(reload(tmp_path / "out", FULL_CONFIG), PICTURES), full.encode(full.recipe, PICTURES))


def test_a_task_may_be_named_like_a_prefix(tmp_path: Path, tiny_folder: Path) -> None:
    raw = mapping("esmpp", expert_rank=2)
    raw["models"][0]["name"] = "visual.ants"
    own = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    own.export(own.recipe, tmp_path / "out")
    assert reload(tmp_path / "out").tasks == ("visual.ants", *TASKS[1:])


def test_the_card_says_how_to_load_both_and_what_the_experts_weigh(
    out: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = (out / "README.md").read_text(encoding="utf-8")
    routing = project.evaluate(project.recipe).routing
    assert routing is not None
    assert "# ESM++ of ants, bees, cats" in card
    assert "By themselves these are ESM's weights" in card
    assert f"Test images find their own task's adapter in {100 * routing.mean:.1f} % of the routed layers." in card
    assert f"The adapters add {100 * routing.overhead:.1f} % to the tower's parameters" in card
    lines = [line.strip() for line in card.splitlines() if line.startswith("    ") and "python -m" not in line]
    here: dict[str, Any] = {"images": PICTURES}
    monkeypatch.chdir(out)
    exec("\n".join(lines), here)  # what the card tells people to run
    features, routes = project.encode_routed(project.recipe, PICTURES)
    assert torch.equal(here["features"], features)
    assert torch.equal(here["routes"], routes)


def test_other_methods_write_no_experts_and_say_nothing_of_them(tmp_path: Path, project: Project) -> None:
    proof = project.export(static_part(project.recipe), tmp_path / "out")
    assert "experts.safetensors" not in {*names(tmp_path / "out"), *proof.files}
    assert "experts.safetensors" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_adapters_of_an_earlier_export_go_with_it(out: Path, project: Project) -> None:
    project.export(with_method(project.recipe, "tsv_m"), out)
    assert names(out) == [name for name in FILES if name != "experts.safetensors"]


def test_a_failed_export_leaves_the_earlier_experts(
    out: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    replace = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if Path(target) == out / "README.md" and "TSV-M" in self.read_text(encoding="utf-8"):
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with says(ExportError, "the export cannot be written (Input/output error), out, choose another folder"):
        project.export(with_method(project.recipe, "tsv_m"), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_somebodys_own_experts_are_never_replaced(tmp_path: Path, project: Project) -> None:
    (tmp_path / "experts.safetensors").write_bytes(b"mine")
    text = f"experts.safetensors is there already and is no export, {tmp_path.name}, choose another folder"
    with says(ExportError, text):
        project.export(project.recipe, tmp_path)
    assert (tmp_path / "experts.safetensors").read_bytes() == b"mine"


# What must not be left.


@pytest.mark.parametrize("part", ["A", "B", "prototypes"])
def test_one_wrong_number_among_the_experts_stops_the_export(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def tampered(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        changed = {name: tensor.clone() for name, tensor in tensors.items()}
        if f"{C_FC}/{part}" in changed:
            changed[f"{C_FC}/{part}"].view(-1)[1] += 1e-3
            metadata = {**metadata, "esm_viz.tensors_sha256": sha256_tensors(changed)}  # as if it had been meant
        write_tensors(path, changed, metadata)

    monkeypatch.setattr(verified_export, "write_tensors", tampered)
    with pytest.raises(ExportError, match=r"^the file differs from the preview in adapters, SHA-256, "):
        project.export(project.recipe, tmp_path / "out")
    assert not names(tmp_path)


def test_a_wrong_bit_in_the_weights_stops_the_export_of_a_routed_model(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tampered(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        changed = {name: tensor.clone() for name, tensor in tensors.items()}
        if C_FC in changed:
            changed[C_FC].view(torch.int32)[3, 5] ^= 1
        write_tensors(path, changed, metadata)

    monkeypatch.setattr(verified_export, "write_tensors", tampered)
    with says(DigestMismatch, f"{MIXED} of one export"):
        project.export(project.recipe, tmp_path / "out")
    assert not names(tmp_path)


def test_wrong_experts_are_scored_anew_and_not_from_memory(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        if path.name == "experts.safetensors":
            tensors = {name: tensor + 30 * name.endswith("/A") for name, tensor in tensors.items()}
            metadata = {**metadata, "esm_viz.tensors_sha256": sha256_tensors(tensors)}
        write_tensors(path, tensors, metadata)

    monkeypatch.setattr(verified_export, "write_tensors", other)
    with pytest.raises(ExportError, match="test images"):
        project.export(project.recipe, tmp_path / "out")
    assert not names(tmp_path)


# What is not mixed.


def test_adapters_of_another_merge_are_refused(tmp_path: Path, out: Path, project: Project) -> None:
    project.export(with_parameters(project.recipe, alpha=0.8), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "experts.safetensors", out / "experts.safetensors")
    with says(DigestMismatch, f"{MIXED} of one export"):
        reload(out)


def test_weights_that_were_changed_afterwards_are_refused(out: Path) -> None:
    weights = load_file(out / "model.safetensors")
    weights[C_FC].view(torch.int32)[0, 0] ^= 1
    save_file(weights, out / "model.safetensors", metadata_of(out / "model.safetensors"))
    with says(DigestMismatch, f"{MIXED} of one export"):
        reload(out)


def test_files_of_another_architecture_are_refused(out: Path) -> None:
    wider = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "width": 32}}
    with pytest.raises(ShapeMismatch, match=r"^model: "):
        reload(out, wider)
