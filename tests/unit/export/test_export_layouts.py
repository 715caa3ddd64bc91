"""Layouts of an export: what each names its tensors, that all can be read again, and that a refusal shows its rows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from esm_viz import load_recipe
from esm_viz.checkpoints.atomic_write import sha256_tensors, write_tensors
from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.checkpoints.layout_table import BASE, CLIP, HF, LAYOUTS, TOWER, chosen_layout, writable
from esm_viz.core.errors import LayoutError, ProofFailed
from esm_viz.core.recipe import parse_mapping
from esm_viz.export import verified_export
from esm_viz.families.loading_code import loading_code
from esm_viz.merge import settle
from esm_viz.project.project import Project
from tests.support.errors import says
from tests.support.exports import metadata_of, names
from tests.support.tiny import CONFIG, FULL_CONFIG, base_weights, full_clip, images, mapping, recipe, relative

NAMES = list(base_weights())
PLAIN = CONFIG["vision_cfg"]
EVERY = [name for name in LAYOUTS if name != HF.name]  # which needs a base with a text tower of its kind
TEXT = {name: tensor for name, tensor in full_clip(base_weights()).items() if not name.startswith("visual.")}


@pytest.fixture(scope="module")
def tower(tiny_folder: Path) -> Project:
    """Return a project whose base is a vision tower alone."""
    return Project.open(recipe(tiny_folder, alpha=0.7), device="cpu")


@pytest.fixture(scope="module")
def whole(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return the same project on a full CLIP."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("whole") / "in"))
    save_file(full_clip(base_weights()), folder / "base.safetensors")
    return Project.open(settle(parse_mapping({**mapping(alpha=0.7), "arch": FULL_CONFIG}, folder)), device="cpu")


def test_what_stands_outside_the_tower_has_no_name_in_it() -> None:
    assert {CLIP.in_tower(name) for name in TEXT} == {None}


@pytest.mark.parametrize("name", ["onnx", "", None, 3, ["tower"], {"tower": 1}, "x" * 500])
def test_a_layout_that_is_not_there_is_refused(name: object) -> None:
    with says(LayoutError, f"there is no layout {name!r:.60}, use base, {', '.join(LAYOUTS)}"):
        chosen_layout(name, TOWER, PLAIN)


@pytest.mark.parametrize("base", [TOWER, CLIP])
def test_base_is_the_base_files_own_layout(base: Any) -> None:
    assert chosen_layout(BASE, base, PLAIN) == base


@pytest.mark.parametrize(
    ("project", "layout", "wanted"),
    [
        ("tower", "base", NAMES),
        ("tower", "tower", NAMES),
        ("tower", "clip", [f"visual.{name}" for name in NAMES]),
        ("whole", "base", [f"visual.{name}" for name in NAMES] + list(TEXT)),
        ("whole", "clip", [f"visual.{name}" for name in NAMES] + list(TEXT)),
        ("whole", "tower", NAMES),
    ],
)
def test_the_file_has_the_names_of_its_layout_and_the_previews_bits(
    tmp_path: Path, request: pytest.FixtureRequest, project: str, layout: str, wanted: list[str]
) -> None:
    own: Project = request.getfixturevalue(project)
    proof = own.export(own.recipe, tmp_path / "out", layout=layout)
    written, shown = load_file(tmp_path / "out" / "model.safetensors"), own.materialize(own.recipe)
    assert sorted(written) == sorted(wanted)
    checkpoint = Checkpoint("export", tmp_path / "out" / "model.safetensors")
    again = checkpoint.tensors(NAMES)
    assert all(torch.equal(again[name], shown[name]) for name in NAMES)
    copied = TEXT if len(wanted) > len(NAMES) else {}  # a text tower has names like a vision tower's
    assert all(torch.equal(written[name], tensor) for name, tensor in copied.items())
    row = {row.what: row.in_file for row in proof.rows}
    assert (row["layout"], row["number of tensors"]) == (checkpoint.layout.title, str(len(wanted)))
    assert ("copied tensors, SHA-256" in row) == bool(copied)


def test_the_layout_changes_neither_the_recipes_hash_nor_the_tensors(tmp_path: Path, tower: Project) -> None:
    found = [metadata_of(_exported(tower, tmp_path / layout, layout)) for layout in EVERY]
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize("layout", EVERY)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_export_serves_as_base_and_as_expert_in_every_layout(
    tmp_path: Path, tiny_folder: Path, tower: Project, layout: str, dtype: str
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "in"))
    tower.export(tower.recipe.replace(dtype=dtype), tmp_path / "out", layout=layout)
    shutil.copy(tmp_path / "out" / "model.safetensors", folder / "base.safetensors")
    shutil.copy(tmp_path / "out" / "model.safetensors", folder / "ants.safetensors")
    project = Project.open(recipe(folder, "averaging").replace(dtype=dtype), device="cpu")
    shown = tower.materialize(tower.recipe.replace(dtype=dtype))
    opened = project.headers
    for checkpoint in (opened.base, opened.experts["ants"]):
        assert sha256_tensors(checkpoint.tensors(NAMES)) == sha256_tensors(shown)
    assert project.merge(project.recipe).norms.before[0] > 0  # the other experts still differ from it


def test_an_export_of_a_full_clip_is_a_base_with_its_words_again(tmp_path: Path, whole: Project) -> None:
    whole.export(whole.recipe, tmp_path / "out")
    again = load_recipe(tmp_path / "out" / "recipe.yaml")
    base = again.seen_from(tmp_path).replace(base="out/model.safetensors", base_sha256="")
    raw = base.as_mapping()
    raw["models"][0]["head"] = {"classes": ["a", "b", "c", "d"], "templates": ["a photo of {}"]}
    Project.open(settle(parse_mapping(raw, tmp_path)), device="cpu")


def _exported(project: Project, folder: Path, layout: str) -> Path:
    project.export(project.recipe, folder, layout=layout)
    return folder / "model.safetensors"


@pytest.mark.parametrize("vision", [{"pool_type": "avg"}, {"no_ln_pre": True}, {"attentional_pool": True}])
def test_what_another_library_has_no_place_for_is_not_offered(vision: dict[str, Any]) -> None:
    assert list(writable(TOWER, {**PLAIN, **vision})) == ["tower", "clip", "image_encoder"]
    assert list(writable(TOWER, PLAIN)) == EVERY
    with says(LayoutError, "timm ViT has no place for a tower of this arch, use tower, clip, image_encoder"):
        chosen_layout("timm", TOWER, {**PLAIN, **vision})


def test_a_hugging_face_clip_needs_a_base_that_brings_its_text_tower() -> None:
    with says(
        LayoutError,
        f"Hugging Face CLIP has a text tower, which the base does not bring, use {', '.join(EVERY)}",
    ):
        chosen_layout("hf", TOWER, PLAIN)


# The card's own lines load it.


@pytest.mark.parametrize(
    ("project", "layout"),
    [*(("tower", layout) for layout in EVERY), ("whole", "clip"), ("whole", "tower"), ("whole", "timm")],
)
def test_the_cards_code_loads_the_file_and_gives_the_previews_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, project: str, layout: str
) -> None:
    own: Project = request.getfixturevalue(project)
    own.export(own.recipe, tmp_path / "out", layout=layout)
    found = re.search(r"```python\n(.*?)```", (tmp_path / "out" / "README.md").read_text("utf-8"), re.DOTALL)
    assert found is not None
    monkeypatch.chdir(tmp_path / "out")
    here: dict[str, Any] = {}
    exec(found[1], here)  # what the card tells people to run
    pictures = images(5, 9)
    with torch.inference_mode():
        features = here["tower"](pictures)
    assert relative(own.encode(own.recipe, pictures), features) < 1e-6  # float32


def test_the_card_of_a_named_architecture_asks_no_network() -> None:
    named = recipe(Path(), "averaging").replace(arch="ViT-B-32-quickgelu")
    here: dict[str, Any] = {"load_file": lambda name: {}}
    lines = loading_code(named, CONFIG, TOWER, whole=False)
    exec("\n".join(line for line in lines if "load" not in line), here)
    assert here["tower"].conv1.weight.shape == (768, 3, 32, 32)


# A refusal shows what differs.


def test_a_refused_export_carries_every_row(tmp_path: Path, tower: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        write_tensors(path, {name: tensor.half() for name, tensor in tensors.items()}, metadata)

    monkeypatch.setattr(verified_export, "write_tensors", halved)
    with pytest.raises(ProofFailed) as refused:
        tower.export(tower.recipe, tmp_path / "out")
    rows: Any = refused.value.rows
    wrong = {row.what: (row.on_screen, row.in_file) for row in rows if not row.equal}
    assert wrong["type of numbers"] == ("float32", "float16")
    assert "tensors, SHA-256" in wrong
    assert len(rows) > len(wrong) + 3
    assert not names(tmp_path)


def test_a_copied_tensor_that_changed_stops_the_export(
    tmp_path: Path, whole: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        write_tensors(path, {**tensors, "logit_scale": tensors["logit_scale"] + 1}, metadata)

    monkeypatch.setattr(verified_export, "write_tensors", other)
    with says(ProofFailed, "the file differs from the preview in copied tensors, SHA-256, export again"):
        whole.export(whole.recipe, tmp_path / "out")


def test_a_file_that_changed_while_it_was_checked_is_refused(
    tmp_path: Path, tower: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = iter(["as written", *["as checked"] * 9])
    monkeypatch.setattr(verified_export, "sha256_file", lambda path: next(digests))
    with says(ProofFailed, "the file differs from the preview in weights file, SHA-256, export again"):
        tower.export(tower.recipe, tmp_path / "out")
