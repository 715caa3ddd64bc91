"""What a fine-tune does not bring is the base's: the form in which most public fine-tunes of CLIP are stored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.core.errors import LayoutError
from esm_viz.families.model_families import architecture_of
from esm_viz.families.vision_tower import encode
from esm_viz.inspection.file_judgement import judge
from esm_viz.inspection.recipe_from_folder import find
from esm_viz.project.project import Project
from tests.support import foreign, tiny


def test_a_vision_model_without_a_projection_has_that_of_the_base(tmp_path: Path) -> None:
    foreign.hugging_face(tmp_path, projected=False)
    recipe = find(tmp_path).recipe
    task = recipe.tasks[0]
    judged = judge(recipe)
    assert [model.verdict.stance for model in judged.models] == ["ready"] * 3
    assert [model.facts.from_base for model in judged.models] == [(), ("proj",), ("proj",)]
    said = f"{task}: proj is not in its file, so the base's is used."
    assert said in judged.notes
    project = Project.open(recipe)
    assert said in project.inspection.notes
    pictures = tiny.images(4, seed=5)
    whole = transformers.CLIPModel.from_pretrained(tmp_path / "base").eval()
    own = transformers.CLIPVisionModel.from_pretrained(tmp_path / task).eval()
    with torch.inference_mode():
        truth = whole.visual_projection(own(pictures).pooler_output)
    weights = project.headers.experts[task].tensors(project.headers.arch.shapes)
    assert tiny.relative(encode(project.headers.arch.tower(weights), pictures), truth) < 2e-6


def test_a_merge_of_experts_without_a_projection_keeps_that_of_the_base(tmp_path: Path) -> None:
    foreign.hugging_face(tmp_path, projected=False)
    recipe = find(tmp_path).recipe
    project = Project.open(recipe)
    base = project.headers.base.tensors(["proj"])["proj"]
    merged = project.materialize(recipe.replace(parameters={"alpha": 0.7}))
    assert torch.equal(merged["proj"], base)


def test_a_missing_last_norm_is_the_base_s_and_a_missing_block_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    arch = architecture_of("", tiny.CONFIG)
    weights = load_file(tiny_folder / "ants.safetensors")
    base = Checkpoint("base", tiny_folder / "base.safetensors")
    bare = {name: tensor for name, tensor in weights.items() if not name.startswith("ln_post")}
    save_file(bare, tmp_path / "bare.safetensors")
    found = Checkpoint("ants", tmp_path / "bare.safetensors", base)
    assert found.judge(arch.shapes).from_base == ("ln_post.weight", "ln_post.bias")
    assert torch.equal(found.tensors(["ln_post.bias"])["ln_post.bias"], base.tensors(["ln_post.bias"])["ln_post.bias"])
    with pytest.raises(LayoutError, match="2 tensors missing"):
        Checkpoint("base", tmp_path / "bare.safetensors").judge(arch.shapes)
    less = {name: tensor for name, tensor in weights.items() if "resblocks.1.ln_1" not in name}
    save_file(less, tmp_path / "less.safetensors")
    with pytest.raises(LayoutError, match="2 tensors missing"):
        Checkpoint("ants", tmp_path / "less.safetensors", base).judge(arch.shapes)


def test_another_base_gives_an_expert_without_a_projection_other_activations(tmp_path: Path) -> None:
    foreign.hugging_face(tmp_path, projected=False)
    recipe = find(tmp_path).recipe
    first = Project.open(recipe)
    state = load_file(tmp_path / "base" / "model.safetensors")
    state["visual_projection.weight"] *= 2
    (tmp_path / "other").mkdir()
    save_file(state, tmp_path / "other" / "model.safetensors")
    second = Project.open(recipe.replace(base="other/model.safetensors"), cache=first.stages.cache)
    tasks = first.recipe.tasks[0]
    keys = [project.scorer.expert(tasks).identity for project in (first, second)]
    assert keys[0] != keys[1]
