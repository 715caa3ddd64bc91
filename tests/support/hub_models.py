"""Repositories for the loopback hub: a base, fine-tunes, and data sets in parquet, as their libraries write them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import load_file, save

from esm_viz.data.images.image_source import to_pixels
from tests.support import foreign, tiny
from tests.support.loopback_hub import LoopbackHub

BASE = "me/tiny-clip"
PREFIX = "me/tiny-clip_"
TASKS = tiny.TASKS[:2]


def put_models(hub: LoopbackHub, folder: Path) -> None:
    """Write a whole CLIP and two fine-tunes, and put them on a hub, each with files that nobody needs.

    Args:
        hub: the hub.
        folder: an empty folder, which keeps the files.
    """
    foreign.hugging_face(folder)
    put_written(hub, folder)


def put_written(hub: LoopbackHub, folder: Path) -> None:
    """Put the models of a folder on a hub; the last is a vision model without a projection, as most fine-tunes are."""
    places = {BASE: folder / "base", **{f"{PREFIX}{task}": folder / task for task in TASKS}}
    for name, place in places.items():
        kept = {file: (place / file).read_bytes() for file in ("config.json", "model.safetensors")}
        if name == f"{PREFIX}{TASKS[-1]}":
            kept = without_projection(place)
        hub.put(name, {**kept, "README.md": b"# A model", "tf_model.h5": b"h" * 20_000, "run.py": b"raise SystemExit"})


def without_projection(folder: Path) -> dict[str, bytes]:
    """Return a vision model of a folder as transformers' CLIPVisionModel has it: the projection is the base's."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    written = json.dumps({**config, "architectures": ["CLIPVisionModel"]})
    return {"config.json": written.encode(), "model.safetensors": save(weights, metadata={"format": "pt"})}


def table(seed: int, classes: Sequence[str] = foreign.CLASSES, count: int = 8) -> bytes:
    """Return a parquet file of images with labels, as the library `datasets` writes it."""
    pictures = []
    for pixels in to_pixels(tiny.images(count, seed)).permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        pictures.append({"bytes": file.getvalue(), "path": None})
    features = {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
    rows = pa.table({"image": pictures, "label": [at % len(classes) for at in range(count)]})
    rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    written = io.BytesIO()
    pq.write_table(rows, written)
    return written.getvalue()


def put_dataset(hub: LoopbackHub, name: str, seed: int) -> None:
    """Put a data set with two splits on a hub, in parquet, as most are."""
    files = {"data/train-00000-of-00001.parquet": table(seed), "data/test-00000-of-00001.parquet": table(seed + 1)}
    hub.put(name, {"README.md": b"# A data set", **files}, kind="datasets")


def shards(folder: Path) -> dict[str, bytes]:
    """Return a model of a folder as two shards with their list and config."""
    whole = load_file(folder / "model.safetensors")
    names = sorted(whole)
    parts = {
        f"model-0000{at + 1}-of-00002.safetensors": {name: whole[name] for name in names[at::2]} for at in range(2)
    }
    index = {"metadata": {}, "weight_map": {name: part for part, held in parts.items() for name in held}}
    return {
        "config.json": (folder / "config.json").read_bytes(),
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{part: save(held, metadata={"format": "pt"}) for part, held in parts.items()},
    }


def as_torch_zip(folder: Path) -> dict[str, bytes]:
    """Return a model of a folder as a file of torch.save, with its config."""
    file = io.BytesIO()
    torch.save(load_file(folder / "model.safetensors"), file)
    return {"config.json": (folder / "config.json").read_bytes(), "pytorch_model.bin": file.getvalue()}


def recipe_text(folder: Path, *, images: bool = True) -> str:
    """Return a recipe by names, without an architecture; heads are files, and so are images if not `images`."""
    lines = ["merge_method: esm", f"base_model: {{path: hf://{BASE}}}", "models:"]
    for task in TASKS:
        lines += [f"- name: {task}", f"  path: hf://{PREFIX}{task}", f"  head: {folder / task / 'head.safetensors'}"]
        if images:
            places = {"proxies": "train", "validation": "train", "test": "test"}
            lines += [f"  {key}: hf://datasets/me/{task}/{split}" for key, split in places.items()]
            lines.append(f"  classes: {json.dumps(list(foreign.CLASSES))}")
        else:
            lines += [
                f"  proxies: {folder / task / 'proxies.zip'}",
                f"  validation: {folder / task / 'validation.zip'}",
            ]
    return "\n".join(lines) + "\n"
