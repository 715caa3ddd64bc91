"""Merges of LoRA adapters against the same models merged dense, from the file names to the written weights."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from esm_viz.core.errors import CheckpointError
from esm_viz.inspection.file_judgement import judge
from esm_viz.inspection.recipe_from_folder import find
from esm_viz.merge import METHODS, settle
from esm_viz.project.project import Project
from tests.support import adapters, families, foreign, tiny

MODULES = {
    f"transformer.resblocks.{block}.{module}": shape
    for block in range(2)
    for module, shape in (("attn", (48, 16)), ("attn.base_layer.out_proj", (16, 16)), ("mlp.c_fc", (64, 16)))
}
SAME = 1e-9


def trained(seed: int) -> dict[str, Tensor]:
    return adapters.thin(MODULES, rank=2, seed=seed)


def merged_into(base: Mapping[str, Tensor], tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Return W0 + s B A in float64, under the base's names."""
    found = {name: tensor.double() for name, tensor in base.items()}
    for module in MODULES:
        path = module.replace("base_layer.", "")
        name = f"{path}.in_proj_weight" if path.endswith("attn") else f"{path}.weight"
        found[name] = found[name] + adapters.product(tensors, module, scale)
    return found


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the adapters of three tasks, and the same models merged dense beside each."""
    place = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("adapters") / "own"))
    base = load_file(place / "base.safetensors")
    for at, task in enumerate(tiny.TASKS):
        tensors = trained(100 * at)
        adapters.write(place / f"{task}_lora", tensors)
        save_file(merged_into(base, tensors, 4), place / f"{task}.safetensors")
    return place


def opened(folder: Path, adapted: bool, method: str = "esm", **parameters: Any) -> Project:
    recipe = tiny.recipe(folder, method, **parameters)
    if adapted:
        raw = recipe.as_mapping()
        for model in raw["models"]:
            model["path"] = f"{model['name']}_lora"
        recipe = settle(tiny.parse_mapping(raw, folder))
    return Project.open(recipe, device="cpu")


@pytest.fixture(scope="module")
def both(folder: Path) -> tuple[Project, Project]:
    return opened(folder, True), opened(folder, False)


def test_every_change_and_its_decomposition_are_those_of_the_dense_model(both: tuple[Project, Project]) -> None:
    thin, dense = both
    for task in thin.tasks:
        for name in thin.headers.arch.shapes:
            own, truth = (one.stages.delta(one.recipe, task, name) for one in both)
            assert (own - truth).abs().max() < 1e-14, name
        for layer in thin.layers:
            assert thin.stages.thin(thin.recipe, task, layer) is not None
            found = thin.stages.decomposition(thin.recipe, task, layer)
            truth = dense.stages.decomposition(dense.recipe, task, layer)
            count = min(2, found.vectors.shape[1])
            assert found.vectors.shape == truth.vectors.shape
            if count:
                assert tiny.relative(found.eigenvalues[:count], truth.eigenvalues[:count]) < SAME
                signs = (found.vectors * truth.vectors).sum(0).abs()
                assert (signs - 1).abs().max() < SAME
            assert thin.stages.shift(thin.recipe, task, layer).energy == pytest.approx(
                dense.stages.shift(dense.recipe, task, layer).energy, rel=SAME
            )


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_merges_them_as_the_dense_models(folder: Path, method: str) -> None:
    found, truth = (opened(folder, adapted, method) for adapted in (True, False))
    own, dense = (one.materialize(one.recipe) for one in (found, truth))
    for name in own:
        # weights are written in float32, and a method may choose entries by their size: one in a thousand may tip over
        wrong = (own[name] - dense[name]).abs() > 1e-5 * dense[name].abs().max()
        assert wrong.double().mean() < 1e-3, (method, name)


def test_interference_and_norms_are_those_of_the_dense_models(both: tuple[Project, Project]) -> None:
    found, truth = (one.merge(one.recipe) for one in both)
    same = pytest.approx
    for own, dense in zip(found.interference.values, truth.interference.values, strict=True):
        unchanged = [
            layer.label for layer, value in zip(found.interference.layers, dense, strict=True) if value != value
        ]
        assert unchanged == [layer.label for layer in found.interference.layers if layer.family == "c_proj"]
        assert own == same(dense, rel=1e-7, nan_ok=True)
    assert found.norms.after == same(truth.norms.after, rel=1e-7)


def test_no_dense_change_is_kept(folder: Path) -> None:
    project = opened(folder, True)
    project.merge(project.recipe)
    stages = project.stages
    for task in project.tasks:
        for layer in project.layers:
            key = ("delta", *stages.files(project.recipe, task), layer.name, "cpu")
            assert not stages.cache.has(key)
            assert stages.cache.has(("factors", *key[1:]))


def test_a_changed_alpha_is_another_model(folder: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "own"))
    first = opened(place, True)
    before = first.stages.delta(first.recipe, "ants", tiny.C_FC)
    adapters.write(place / "ants_lora", trained(0), lora_alpha=16)
    other = opened(place, True)
    assert first.stages.digests["ants_lora"] != other.stages.digests["ants_lora"]
    assert torch.equal(other.stages.delta(other.recipe, "ants", tiny.C_FC), 2 * before)
    raw = first.recipe.as_mapping()
    raw["models"][0]["sha256"] = first.stages.digests["ants_lora"]
    named = settle(tiny.parse_mapping(raw, place))
    with pytest.raises(CheckpointError, match="the recipe names"):
        Project.open(named, device="cpu")


def test_another_base_gives_an_adapter_other_activations(folder: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "own"))
    first = opened(place, True)
    layer = first.layers[0]
    before = first.stages.moment(first.recipe, "ants", layer)
    base = load_file(place / "base.safetensors")
    save_file({name: tensor * 1.1 for name, tensor in base.items()}, place / "base.safetensors")
    other = Project.open(first.recipe, device="cpu", cache=first.stages.cache)
    assert tiny.relative(other.stages.moment(other.recipe, "ants", layer).mean, before.mean) > 1e-3


def test_untrained_adapters_are_the_base_itself(folder: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(folder, tmp_path / "own"))
    tensors = trained(0)
    adapters.write(place / "ants_lora", {name: one * 0 if "lora_B" in name else one for name, one in tensors.items()})
    project = opened(place, True)
    base = project.headers.base.tensors(project.headers.arch.shapes)
    expert = project.headers.experts["ants"].tensors(project.headers.arch.shapes)
    assert all(torch.equal(expert[name], base[name]) for name in base)
    project.merge(project.recipe)


def test_the_layout_of_public_fine_tunes_goes_from_a_folder_to_weights(tmp_path: Path) -> None:
    """A whole CLIP as the base, and adapters of its vision model with q_proj and v_proj, as peft saves them."""
    foreign.hugging_face(tmp_path, projected=False)
    base = load_file(tmp_path / "base" / "model.safetensors")
    ends = ("q_proj", "v_proj")
    names = [name for name in adapters.modules(base, ends) if name.startswith("vision_model.")]
    saved = {}
    for at, task in enumerate(tiny.TASKS[:2]):
        saved[task] = adapters.thin({name: tuple(base[f"{name}.weight"].shape) for name in names}, seed=40 * at)
        (tmp_path / task / "model.safetensors").unlink()
        (tmp_path / task / "config.json").unlink()
        adapters.write(tmp_path / task, saved[task])
    found = find(tmp_path)
    assert [model.path for model in found.recipe.models] == list(tiny.TASKS[:2])
    recipe = found.recipe.replace(parameters={"alpha": 0.7})
    facts = judge(recipe).experts[0].facts
    assert facts.layout == "LoRA adapter of rank 2 on 4 of 12 matrices"
    project = Project.open(recipe, device="cpu")
    model = transformers.CLIPModel.from_pretrained(tmp_path / "base").vision_model.eval()
    for name in names:
        with torch.no_grad():
            inner = model.get_submodule(name.removeprefix("vision_model."))
            inner.weight += adapters.product(saved["ants"], name, 4).float()
    images = tiny.images(3, 9)
    with torch.inference_mode():
        truth = model(pixel_values=images).pooler_output @ base["visual_projection.weight"].mT
        arch = project.headers.arch
        tower = arch.tower(project.headers.experts["ants"].tensors(arch.shapes, torch.float32))
        assert tiny.relative(tower(images), truth) < 1e-5
    merged = project.materialize(project.settled(recipe))
    start = project.headers.base.tensors(arch.shapes)
    moved = {name for name in arch.shapes if not torch.equal(merged[name], start[name])}
    assert moved == {f"transformer.resblocks.{block}.attn.in_proj_weight" for block in range(2)}


def test_a_folder_without_its_config_or_with_another_kind_is_told_in_the_table(tmp_path: Path) -> None:
    foreign.hugging_face(tmp_path)
    for task, kind in zip(tiny.TASKS[:2], ("LORA", "LOHA"), strict=True):
        (tmp_path / task / "model.safetensors").unlink()
        adapters.write(tmp_path / task, adapters.thin({"visual.x": (4, 4)}), peft_type=kind)
    found = judge(find(tmp_path).recipe).experts
    assert [model.verdict.words for model in found] == ["Refused: an adapter that does not fit"] * 2
    assert "the base has no visual.x" in found[0].verdict.sentence
    assert "an adapter of type LOHA, only LoRA can be read" in found[1].verdict.sentence


def test_a_saved_classifier_is_its_task_s_head_and_no_part_of_the_merge(tmp_path: Path) -> None:
    """A ViT of transformers, an adapter for each task with a classifier of its own number of classes."""
    kind = next(kind for kind in families.KINDS if kind.name == "vit")
    _, models = families.write(kind, tmp_path)
    base = load_file(tmp_path / "base" / "model.safetensors")
    names = adapters.modules(base, ("query", "value", "dense"))
    shapes = {name: tuple(base[f"{name}.weight"].shape) for name in names if "encoder" in name}
    heads = {}
    for at, (task, model) in enumerate(models.items()):
        (tmp_path / task / "model.safetensors").unlink()
        (tmp_path / task / "config.json").unlink()
        own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("classifier.")}
        heads[task] = own["classifier.weight"]
        saved = {f"{adapters.OUTER}{name}": tensor for name, tensor in own.items()}
        adapters.write(
            tmp_path / task, {**adapters.thin(shapes, seed=60 * at), **saved}, modules_to_save=["classifier"]
        )
    recipe = find(tmp_path).recipe.replace(method="task_arithmetic", parameters={"alpha": 0.5})
    project = Project.open(recipe, device="cpu")
    assert {task: head.weight.shape for task, head in project.headers.heads.items()} == {
        task: weight.shape for task, weight in heads.items()
    }
    assert all(torch.equal(project.headers.heads[task].weight, weight) for task, weight in heads.items())
    assert len(project.evaluate(recipe, "validation").tasks) == len(models)
    project.export(recipe, tmp_path / "out")
    written = load_file(tmp_path / "out" / "model.safetensors")
    for name in base:
        truth = base[name].double()
        if (module := name.removesuffix(".weight")) in shapes and name.endswith(".weight"):
            for at in range(len(models)):
                tensors = adapters.thin(shapes, seed=60 * at)
                truth = truth + 0.5 * adapters.product(tensors, module, 4)
        assert tiny.relative(written[name], truth) < 1e-6 if truth.any() else not written[name].any()
