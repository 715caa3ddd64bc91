"""Where a task's files lie in a user's folders: its weights, its head, its images.

The layout is that of task-vector repositories, or plain names.
Names are compared up to case, hyphens and underscores, and a task may be called in any way that `tasks` knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from esm_viz.data.images.image_source import KINDS, folded
from esm_viz.papers.papers_tasks import PapersTask, task_named

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
BASES = ("zeroshot", "nonlinear_zeroshot", "base", "pretrained")
_HEAD = re.compile(r"^head[-_]|[.]head$", re.IGNORECASE)
_FINETUNED = ("nonlinear_finetuned", "finetuned", "model")
_WHOLE = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")  # with a config.json beside it
_SPLITS = {
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test",),
    "proxies": ("proxies",),
}
"""Names of each part of a data set."""


def place_of(folder: Path, arch: str) -> Path:
    """Return the folder of one architecture's checkpoints, where there is one for each; else the folder itself."""
    wanted = folded(arch.removesuffix("-quickgelu"))
    return next((entry for entry in _entries(folder) if entry.is_dir() and folded(entry.name) == wanted), folder)


def base_in(*places: Path) -> Path | None:
    """Return the pre-trained weights: of the places themselves, else those that some task's folder there has."""
    tasks = [entry for place in places for entry in _entries(place) if entry.is_dir() and task_named(entry.name)]
    return next((path for folder in (*places, *tasks) for path in _weights(folder, BASES)), None)


def weights_of(task: PapersTask, place: Path) -> Path | None:
    """Return a task's fine-tuned weights: a file of its name, or those in a folder of its name."""
    for entry in _of(task, place):
        if entry.is_dir():
            if (entry / "config.json").is_file() and any((entry / name).is_file() for name in _WHOLE):
                return entry
            inner = next(_weights(entry, _FINETUNED), None)
            if inner is not None:
                return inner
        elif entry.suffix.lower() in WEIGHTS:
            return entry
    return None


def head_of(task: PapersTask, place: Path) -> Path | None:
    """Return a task's head: head_CarsVal.pt, cars.head.safetensors, heads/cars.safetensors, or its folder's head.pt."""
    for file in (entry for folder in (place, place / "heads") for entry in _entries(folder)):
        name = _HEAD.sub("", file.stem)
        if file.suffix.lower() in WEIGHTS and (name != file.stem or file.parent != place) and task_named(name) == task:
            return file
    return next((path for folder in _of(task, place) if folder.is_dir() for path in _weights(folder, ("head",))), None)


def images_of(task: PapersTask, data: Path, part: str) -> Path | None:
    """Return one part of a task's images: a folder, or a file of images.

    Args:
        task: whose.
        data: the folder with all data sets.
        part: "proxies", "validation" or "test".
    """
    roots = [inner for folder in _of(task, data) if folder.is_dir() for inner in (folder, folder / "data")]
    for name in _SPLITS[part]:
        for root in roots:
            for entry in _entries(root):
                stem = entry.name if entry.is_dir() else entry.stem
                whole = folded(stem) in (name, f"{name}0000000001")  # a table of one part: test-00000-of-00001
                if whole and (entry.is_dir() or entry.suffix.lower() in KINDS):
                    return entry
    return None


def _of(task: PapersTask, folder: Path) -> list[Path]:
    """Return what has a task's name in a folder."""
    return [
        entry
        for entry in _entries(folder)
        if task_named(entry.name if entry.is_dir() or entry.suffix.lower() not in WEIGHTS else entry.stem) == task
    ]


def _weights(folder: Path, stems: Sequence[str]) -> Iterator[Path]:
    files = {entry.name.removesuffix(entry.suffix) + entry.suffix.lower(): entry for entry in _entries(folder)}
    names = (f"{stem}{suffix}" for stem in stems for suffix in WEIGHTS)
    return (files[name] for name in names if name in files and files[name].is_file())


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:  # it is no folder, or nobody may look into it
        return []
