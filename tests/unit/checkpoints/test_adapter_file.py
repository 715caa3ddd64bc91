"""Adapters on disk: what is written is what is read, and what every refusal says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from esm_viz.checkpoints.adapter_file import adapters_metadata, named_tensors, read_adapters
from esm_viz.core.errors import CheckpointError, DigestMismatch, LayoutError, NotFinite, ShapeMismatch
from tests.support.errors import says
from tests.support.tiny import normal

LAYER, OTHER = "transformer.resblocks.0.mlp.c_fc.weight", "transformer.resblocks.1.mlp.c_fc.weight"
SHAPES = {LAYER: (7, 5), OTHER: (7, 5)}
TASKS = ("ants", 'bees "and" ☆')
REMEDY = "e.safetensors, give the experts.safetensors of an ESM++ export of this arch"


def adapters(rank: int = 3) -> dict[str, tuple[Tensor, ...]]:
    sizes = ((2, rank, 5), (2, 7, rank), (2, 5))
    return {
        name: tuple(normal(*size, seed=10 * at + step).float() for step, size in enumerate(sizes))
        for at, name in enumerate((OTHER, LAYER))
    }


def write(folder: Path, layers: dict[str, tuple[Tensor, ...]], **changed: str) -> Path:
    metadata = {**adapters_metadata(layers, TASKS, "0" * 64), "esm_viz.recipe_sha256": "1" * 64, **changed}
    save_file(named_tensors(layers), folder / "e.safetensors", metadata)
    return folder / "e.safetensors"


@pytest.mark.parametrize("rank", [3, 1, 0])
def test_what_is_written_is_what_is_read(tmp_path: Path, rank: int) -> None:
    layers = adapters(rank)
    found = read_adapters(write(tmp_path, layers), SHAPES)
    assert (found.tasks, tuple(found.layers)) == (TASKS, (OTHER, LAYER))  # in the order in which they were given
    assert (found.model_sha256, found.recipe_sha256) == ("0" * 64, "1" * 64)
    for name, tensors in layers.items():
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(found.layers[name], tensors, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype) -> None:
    layers = {name: tuple(tensor.to(dtype) for tensor in tensors) for name, tensors in adapters().items()}
    assert {tensor.dtype for tensor in read_adapters(write(tmp_path, layers), SHAPES).layers[LAYER]} == {dtype}


@pytest.mark.parametrize("key", ["tasks", "layers"])
@pytest.mark.parametrize("text", ["", "{", "3", "[]", "[3]", '{"a": 1}', "[" * 100_000])
def test_metadata_without_names_are_refused(tmp_path: Path, key: str, text: str) -> None:
    with says(LayoutError, f"adapters: the metadata names no {key}, {REMEDY}"):
        read_adapters(write(tmp_path, adapters(), **{f"esm_viz.{key}": text}), SHAPES)


def test_any_other_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({LAYER: torch.zeros(7, 5), "visual.x": torch.zeros(1)}, tmp_path / "e.safetensors")
    with says(LayoutError, f"adapters: the metadata names no tasks, {REMEDY}"):
        read_adapters(tmp_path / "e.safetensors", SHAPES)


def test_layers_that_the_arch_does_not_have_are_refused(tmp_path: Path) -> None:
    with says(LayoutError, f"adapters: this arch has no layer {OTHER}, {REMEDY}"):
        read_adapters(write(tmp_path, adapters()), {LAYER: (7, 5)})


@pytest.mark.parametrize("extra", ["visual.x", f"{LAYER}/C"])
def test_tensors_beside_the_named_layers_are_refused(tmp_path: Path, extra: str) -> None:
    layers = adapters()
    metadata = adapters_metadata(layers, TASKS, "0" * 64)
    save_file({**named_tensors(layers), extra: torch.zeros(1)}, tmp_path / "e.safetensors", metadata)
    with says(LayoutError, f"adapters: its tensors are not those of the layers it names, {REMEDY}"):
        read_adapters(tmp_path / "e.safetensors", SHAPES)


def test_a_layer_without_its_tensors_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, {LAYER: adapters()[LAYER]}, **{"esm_viz.layers": json.dumps([LAYER, OTHER])})
    with says(LayoutError, f"adapters: its tensors are not those of the layers it names, {REMEDY}"):
        read_adapters(path, SHAPES)


WRONG: dict[str, tuple[int, tuple[int, ...], str]] = {
    "other width": (0, (2, 3, 6), f"{LAYER}/A is (2, 3, 6), for 2 tasks and rank 3 it is (2, 3, 5)"),
    "other tasks": (0, (3, 3, 5), f"{LAYER}/A is (3, 3, 5), for 2 tasks and rank 3 it is (2, 3, 5)"),
    "a flat A": (0, (2, 5), f"{LAYER}/A is (2, 5), for 2 tasks and rank 0 it is (2, 0, 5)"),
    "ranks that differ": (1, (2, 7, 4), f"{LAYER}/B is (2, 7, 4), for 2 tasks and rank 3 it is (2, 7, 3)"),
    "one prototype": (2, (1, 5), f"{LAYER}/prototypes is (1, 5), for 2 tasks and rank 3 it is (2, 5)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_shapes_that_do_not_fit_are_refused(tmp_path: Path, case: str) -> None:
    at, shape, text = WRONG[case]
    layers = adapters()
    layers[LAYER] = tuple(torch.zeros(shape) if step == at else tensor for step, tensor in enumerate(layers[LAYER]))
    with says(ShapeMismatch, f"adapters: {text}, {REMEDY}"):
        read_adapters(write(tmp_path, layers), SHAPES)


def test_one_changed_number_is_noticed(tmp_path: Path) -> None:
    layers = adapters()
    layers[LAYER][0][0, 0, 0] += 1
    path = write(
        tmp_path,
        layers,
        **{"esm_viz.tensors_sha256": adapters_metadata(adapters(), TASKS, "")["esm_viz.tensors_sha256"]},
    )
    with says(DigestMismatch, "adapters: its tensors are not those that were written, e.safetensors, export again"):
        read_adapters(path, SHAPES)


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    layers = adapters()
    layers[LAYER][2][0, 0] = torch.nan
    with says(NotFinite, f"adapters: {LAYER}/prototypes holds NaN, e.safetensors, save it again"):
        read_adapters(write(tmp_path, layers), SHAPES)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with says(CheckpointError, "adapters: there is no such file, e.safetensors, check the path in the recipe"):
        read_adapters(tmp_path / "e.safetensors", SHAPES)
