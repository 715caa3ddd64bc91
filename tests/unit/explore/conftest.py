"""Projects that Explore is asked about: the tiny one, and one whose answers are extremes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from esm_viz.core.recipe import parse_mapping
from esm_viz.merge import settle
from esm_viz.project.project import Project
from tests.support import tiny
from tests.support.watching import watch_inputs


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    return Project.open(tiny.recipe(tiny_folder), device="cpu")


@pytest.fixture(scope="module")
def extremes(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return ants, its twin, still (a fine-tune that equals its base) and once (ants with one proxy image)."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("extremes") / "files"))
    pictures = load_file(folder / "ants_proxies.safetensors")["images"]
    save_file({"images": pictures[:1].contiguous()}, folder / "once_proxies.safetensors")
    files = {
        "ants": ("ants", "ants"),
        "twin": ("ants", "ants"),
        "still": ("base", "bees"),
        "once": ("ants", "once"),
    }
    raw: dict[str, Any] = tiny.mapping()
    raw["models"] = [
        {"name": name, "path": f"{weights}.safetensors", "proxies": f"{proxies}_proxies.safetensors"}
        for name, (weights, proxies) in files.items()
    ]
    return Project.open(settle(parse_mapping(raw, folder)), device="cpu")


@pytest.fixture(scope="module")
def alone(tiny_folder: Path) -> Project:
    """Return a project of one task."""
    raw = tiny.mapping()
    del raw["models"][1:]
    return Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")


def tokens(project: Project, task: str, layer: str) -> tuple[Tensor, Tensor]:
    """Return ΔW_t and X_t, (images, tokens, d_in), both float64, straight from the files."""
    headers, seen = project.headers, []
    expert = headers.experts[task]
    filled = headers.arch.tower(expert.tensors(headers.arch.shapes, torch.float32))
    pictures = project.stages.proxies(project.recipe, task)
    watch_inputs(filled, (project.layer(layer),), pictures, lambda name, rows: seen.append(rows.double()))
    tuned, base = (side.tensors([layer], torch.float64)[layer] for side in (expert, headers.base))
    return tuned - base, torch.cat(seen)


def shift_basis(delta: Tensor, x: Tensor, rank: int) -> Tensor:
    """Return the first right singular vectors of the output shift that carry energy, (d_out, <= rank)."""
    _, s, vt = torch.linalg.svd(x.flatten(0, 1) @ delta.mT, full_matrices=False)
    return vt[: int((s[:rank] > 1e-5 * s[0]).sum())].mT  # λ > 1e-10 λ_1
