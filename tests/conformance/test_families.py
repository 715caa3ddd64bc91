"""One battery for every kind of model, with its library's own code: it opens, runs, merges, exports and opens again."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.plain_pytorch import merge_singular_vectors
from esm_viz.core.errors import ExportError
from esm_viz.core.records import LAYER_ROLES, Layer
from esm_viz.families.classification_head import read_head
from esm_viz.families.routed_tower import load_routed
from esm_viz.families.vision_tower import encode
from esm_viz.inspection.recipe_from_folder import find
from esm_viz.merge import settle
from esm_viz.project.project import Project
from tests.support import families
from tests.support.esm_truth import truth
from tests.support.families import KINDS, TASKS, Kind
from tests.support.tiny import relative

CLOSE = 2e-6
SIMILAR = {kind.title: kind for kind in KINDS}


@functools.lru_cache(1)
def _opened(title: str, folder: Path) -> tuple[Kind, Project, nn.Module, dict[str, nn.Module]]:
    kind = SIMILAR[title]
    base, models = families.write(kind, folder)
    recipe = find(folder).recipe
    return kind, Project.open(recipe.replace(parameters={"alpha": 0.5})), base, models


@pytest.fixture(scope="module", params=SIMILAR)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Kind, Project, nn.Module, dict[str, nn.Module]]:
    """Return a kind, its project, its base and its fine-tunes."""
    return _opened(request.param, tmp_path_factory.mktemp("family"))


Opened = tuple[Kind, Project, nn.Module, dict[str, nn.Module]]


def features(kind: Kind, model: nn.Module, images: Tensor) -> Tensor:
    """Return what a model's classifier reads, by the library's own forward pass; its features without one."""
    seen: list[Tensor] = []
    hook = model.get_submodule(kind.head).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.inference_mode():
        kind.answer(model, images)
    hook.remove()
    return seen[0].flatten(1)


def test_an_expert_gives_the_features_of_its_library(opened: Opened) -> None:
    kind, project, _, models = opened
    shown = families.images(4, 50)
    for task, model in models.items():
        arch = project.headers.arch
        ours = encode(arch.tower(project.headers.experts[task].tensors(arch.shapes, torch.float32)), shown)
        if kind.classified:
            assert relative(ours, features(kind, model, shown)) < CLOSE
            with torch.inference_mode():
                logits = kind.answer(model, shown)
            assert relative(project.headers.heads[task].logits(ours), logits) < CLOSE
        else:
            with torch.inference_mode():
                assert relative(ours, kind.answer(model, shown).flatten(1)) < CLOSE


def test_experts_are_right_on_the_images_that_they_labelled(opened: Opened) -> None:
    kind, project, _, _ = opened
    if not kind.classified:
        return
    measured = project.evaluate(project.recipe, "validation")
    assert [row.finetuned.accuracy for row in measured.tasks] == [1.0, 1.0]


def test_most_of_the_model_is_merged_by_esd(opened: Opened) -> None:
    _, project, _, _ = opened
    arch = project.headers.arch
    blocks = [name for name in arch.shapes if name not in arch.stem_names]
    inside = sum(torch.Size(arch.shapes[name]).numel() for name in blocks)
    assert sum(layer.d_out * layer.d_in for layer in arch.layers) > 0.6 * inside
    assert {layer.block for layer in arch.layers} == set(range(arch.blocks))


def test_the_merge_of_a_layer_is_the_float64_truth_from_the_library_s_own_pass(opened: Opened) -> None:
    kind, project, _, models = opened
    recipe, stages = settle(project.recipe), project.stages
    for layer in (project.layers[0], project.layers[-1]):
        names = stages.headers.base.layout.piece(layer.name)
        assert names is not None
        pairs = [(_matrix(project, task, layer) - _matrix(project, "base", layer)) for task in TASKS]
        merged = stages.merged(recipe, layer.name, layer).delta
        if layer.essential:
            inputs = [_inputs(kind, project, models[task], task, layer) for task in TASKS]
            for task, found in zip(TASKS, inputs, strict=True):
                moment = stages.moment(recipe, task, layer)
                assert moment.tokens == len(found)
                assert relative(moment.matrix, found.mT @ found) < 1e-5
            assert relative(merged, truth(pairs, inputs)) < 1e-4
        else:
            assert relative(merged, merge_singular_vectors(pairs)) < 1e-9


def test_alpha_0_is_the_base_s_file_bit_for_bit(opened: Opened, tmp_path: Path) -> None:
    _, project, _, _ = opened
    project.export(project.recipe.replace(parameters={"alpha": 0.0}), tmp_path)
    written, base = load_file(tmp_path / "model.safetensors"), project.headers.base.everything()
    held = dict(base)
    assert written.keys() == held.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in held.items())


def test_an_export_opens_by_the_library_s_call_and_by_the_lines_of_its_card(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, project, _, _ = opened
    proof = project.export(project.recipe, tmp_path)
    assert all(row.equal for row in proof.rows)
    if kind.classified:
        for task, head in project.headers.heads.items():
            kept = read_head(tmp_path / "heads" / f"{task}.safetensors", project.headers.arch.embed_dim)
            assert kept.digest == head.digest
    assert (tmp_path / "heads").exists() is kind.classified
    project.export(project.recipe, tmp_path)  # over the export before
    shown = families.images(4, 51)
    ours = encode(project.headers.arch.tower(project.materialize(project.recipe)), shown)
    monkeypatch.chdir(tmp_path)
    told: dict[str, Any] = {}
    exec((tmp_path / "README.md").read_text().partition("```python\n")[2].partition("```")[0], told)
    with torch.inference_mode():
        by_card = getattr(told["tower"], "eval", lambda: told["tower"])()(shown)
    by_card = by_card[0] if isinstance(by_card, tuple) else by_card
    assert relative(by_card.flatten(1), ours) < CLOSE
    again = kind.reopen(tmp_path).eval()
    if kind.classified:
        theirs = features(kind, again, shown)
    else:
        with torch.inference_mode():
            theirs = kind.answer(again, shown).flatten(1)
    assert relative(ours, theirs) < CLOSE


def test_adapters_are_added_to_every_routed_matrix(opened: Opened, tmp_path: Path) -> None:
    _, project, _, _ = opened
    roles = {layer.role for layer in project.layers}
    routed = "+".join(role for role in LAYER_ROLES if role in roles)
    parameters = {"alpha": 0.5, "expert_rank": 8, "routed": routed}
    recipe = project.recipe.replace(method="esmpp", parameters=parameters)
    arch, weights, tower = project.headers.arch, project.materialize(recipe), project.tower(recipe)
    assert set(tower.layers) == {layer.name for layer in project.layers}
    adapters, shown = project.routed_adapters(recipe), families.images(4, 52)
    plain = encode(arch.tower(weights), shown)
    for at in range(len(TASKS)):
        with tower.sent_to(at):
            found = encode(tower, shown)
        added = {name: each.B[at] @ each.A[at] for name, each in adapters.items()}
        whole = {name: tensor + added[name] if name in added else tensor for name, tensor in weights.items()}
        assert relative(found, encode(arch.tower(whole), shown)) < 1e-4
        assert relative(found, plain) > 1e-3
    project.export(recipe, tmp_path)
    again = load_routed(arch, tmp_path / "model.safetensors", tmp_path / "experts.safetensors")
    tower.take_routes()
    assert torch.equal(encode(again, shown), encode(tower, shown))
    assert torch.equal(again.take_routes(), tower.take_routes())


def _matrix(project: Project, name: str, layer: Layer) -> Tensor:
    checkpoint = project.headers.base if name == "base" else project.headers.experts[name]
    return checkpoint.tensors([layer.name], torch.float64)[layer.name]


def _inputs(kind: Kind, project: Project, model: nn.Module, task: str, layer: Layer) -> Tensor:
    """Return the rows that a layer's matrix multiplies, float64, by hooks on the library's own model."""
    stored = project.headers.arch.layout_of(
        {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    ).piece(layer.name)
    assert stored is not None
    name = stored.names[0].rpartition(".")[0]
    module = model.get_submodule(name)
    seen: list[Tensor] = []

    def see(own: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        first = next(value for value in (*given, *named.values()) if isinstance(value, Tensor))
        seen.append(_rows(own, first))

    watched = [module.register_forward_pre_hook(see, with_kwargs=True)]
    if not isinstance(module, nn.MultiheadAttention):
        around = model.get_submodule(name.rpartition(".")[0])
        outer: list[Tensor] = []
        watched.append(
            around.register_forward_pre_hook(
                lambda _, given, named: outer.append(next(iter((*given, *named.values())))), with_kwargs=True
            )
        )
    with torch.inference_mode():
        kind.answer(model, families.images(6, 20 + TASKS.index(task)))
    for hook in watched:
        hook.remove()
    found = seen[0] if seen else outer[0]
    return found.reshape(-1, found.shape[-1]).double()


def _rows(module: nn.Module, x: Tensor) -> Tensor:
    """Return the rows that a module multiplies by its matrix; patches of a convolution by its own window."""
    if not isinstance(module, nn.Conv2d):
        return x
    (high, wide), (down, across), (top, left) = module.kernel_size, module.stride, module.padding
    padded = torch.nn.functional.pad(x, (left, left, top, top))
    windows = padded.unfold(2, high, down).unfold(3, wide, across)
    return windows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def test_an_export_replaces_no_head_that_it_did_not_write(opened: Opened, tmp_path: Path) -> None:
    kind, project, _, _ = opened
    if not kind.classified:
        return
    own = tmp_path / "heads" / f"{TASKS[0]}.safetensors"
    own.parent.mkdir()
    save_file({"weight": torch.ones(2, 3)}, own)
    before = own.read_bytes()
    with pytest.raises(ExportError, match="is there already and is no export's"):
        project.export(project.recipe, tmp_path)
    assert own.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["heads"]
