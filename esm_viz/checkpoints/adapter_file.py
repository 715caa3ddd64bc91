"""`experts.safetensors`: ESM++'s adapters of one merged model, with A, B and prototypes per routed layer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from esm_viz.checkpoints.atomic_write import sha256_tensors
from esm_viz.checkpoints.checkpoint import Checkpoint
from esm_viz.core.errors import DigestMismatch, LayoutError, ShapeMismatch

PARTS = ("A", "B", "prototypes")
"""Names of one layer's tensors, of shapes (T, r, d_in), (T, d_out, r), (T, d_in); T tasks."""
_FOREIGN = "give the experts.safetensors of an ESM++ export of this arch"


class AdaptersFile(NamedTuple):
    """The contents of the file.

    Attributes:
        tasks: names of the T tasks.
        layers: the tensors of `PARTS` by layer name, in the tower's order.
        model_sha256: SHA-256 of the merged tower's tensors that the adapters belong to.
        recipe_sha256: SHA-256 of the recipe of the merge.
    """

    tasks: tuple[str, ...]
    layers: Mapping[str, tuple[Tensor, ...]]
    model_sha256: str
    recipe_sha256: str


def named_tensors(layers: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    """Return adapters by the names of their tensors in the file."""
    return {
        f"{name}/{part}": tensor
        for name, tensors in layers.items()
        for part, tensor in zip(PARTS, tensors, strict=True)
    }


def adapters_metadata(
    layers: Mapping[str, Sequence[Tensor]], tasks: Sequence[str], model_sha256: str
) -> dict[str, str]:
    """Return the file's metadata, except the recipe."""
    return {
        "esm_viz.tasks": json.dumps(list(tasks), ensure_ascii=False),
        "esm_viz.layers": json.dumps(list(layers)),
        "esm_viz.model_sha256": model_sha256,
        "esm_viz.tensors_sha256": sha256_tensors(named_tensors(layers)),
    }


def read_adapters(path: Path, shapes: Mapping[str, tuple[int, int]]) -> AdaptersFile:
    """Read adapters, after a check of the whole header.

    Args:
        path: path of the file.
        shapes: (d_out, d_in) of every layer that may be routed.

    Raises:
        CheckpointError: the file cannot be read, or holds NaN or Inf.
        LayoutError: it holds no adapters of this architecture.
        ShapeMismatch: a tensor does not fit its layer.
        DigestMismatch: its tensors differ from those that were written.
    """
    file = Checkpoint("adapters", path)
    tasks, layers = _words(file, "esm_viz.tasks"), _words(file, "esm_viz.layers")
    unknown = [name for name in layers if name not in shapes]
    if unknown:
        raise LayoutError(f"adapters: this arch has no layer {unknown[0]}", _FOREIGN, path.name)
    if set(file.names) != {f"{layer}/{part}" for layer in layers for part in PARTS}:
        raise LayoutError("adapters: its tensors are not those of the layers it names", _FOREIGN, path.name)
    for layer in layers:
        _judge(file, layer, len(tasks), *shapes[layer])
    tensors = file.tensors(file.names)
    if sha256_tensors(tensors) != file.metadata.get("esm_viz.tensors_sha256"):
        raise DigestMismatch("adapters: its tensors are not those that were written", "export again", path.name)
    return AdaptersFile(
        tasks,
        {layer: tuple(tensors[f"{layer}/{part}"] for part in PARTS) for layer in layers},
        file.metadata.get("esm_viz.model_sha256", ""),
        file.metadata.get("esm_viz.recipe_sha256", ""),
    )


def _judge(file: Checkpoint, layer: str, tasks: int, d_out: int, d_in: int) -> None:
    found = [file.shape(f"{layer}/{part}") for part in PARTS]
    rank = found[0][1] if len(found[0]) == 3 else 0
    for part, shape, expected in zip(
        PARTS, found, [(tasks, rank, d_in), (tasks, d_out, rank), (tasks, d_in)], strict=True
    ):
        if shape != expected:
            wrong = f"adapters: {layer}/{part} is {shape}, for {tasks} tasks and rank {rank} it is {expected}"
            raise ShapeMismatch(wrong, _FOREIGN, file.path.name)


def _words(file: Checkpoint, key: str) -> tuple[str, ...]:
    """Return a list of distinct words from the metadata."""
    try:
        words = json.loads(file.metadata.get(key, ""))
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise LayoutError(f"adapters: the metadata names no {key.partition('.')[2]}", _FOREIGN, file.path.name)
    return tuple(dict.fromkeys(words))
