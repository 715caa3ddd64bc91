"""Disks that fill up, files that change or vanish, a process that is killed, numbers that stop being numbers."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from esm_viz.checkpoints.checkpoint import sha256_file
from esm_viz.core.errors import CheckpointError, EsmVizError, ExportError, NumericsError
from esm_viz.core.progress import Progress
from esm_viz.export import verified_export
from esm_viz.merge import METHODS, with_parameters
from esm_viz.project.project import Project
from tests.support import tiny
from tests.support.errors import says
from tests.support.exports import metadata_of, names


@pytest.fixture
def mine(tiny_folder: Path, tmp_path: Path) -> Path:
    """Return a project that a test may spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "mine"))


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    opened = Project.open(tiny.recipe(tiny_folder, "task_arithmetic", alpha=0.5), device="cpu")
    opened.materialize(opened.recipe)
    return opened


def change(folder: Path, task: str, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    held = load_file(folder / f"{task}.safetensors")
    edit(held)
    save_file(held, folder / f"{task}.safetensors")


def digests(folder: Path) -> dict[str, str]:
    """Return what each file of an export holds; two files of the same weights differ in the order of their metadata."""
    return {name: sha256_file(folder / name) for name in names(folder) if name != verified_export.WEIGHTS} | {
        verified_export.WEIGHTS: metadata_of(folder / verified_export.WEIGHTS)["esm_viz.recipe_sha256"]
    }


# Disks.


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse to write files beyond a size, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 100, 1_000, 20_000, 43_000])
def test_a_disk_without_room_leaves_the_earlier_export_whole(tmp_path: Path, project: Project, room: int) -> None:
    out = tmp_path / "out"
    project.export(project.recipe, out)
    before = digests(out)
    with pytest.raises(ExportError) as caught, largest_file(room):
        project.export(with_parameters(project.recipe, alpha=0.6), out)
    assert str(caught.value).isprintable()
    assert str(tmp_path) not in str(caught.value)
    assert digests(out) == before
    with pytest.raises(ExportError), largest_file(room):
        project.export(project.recipe, tmp_path / "new" / "folder")
    assert names(tmp_path) == ["out"]


WRITES = ("write_tensors", "write_text", "_put_in_place", "_written")


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_no_room_at_any_write_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    def fails(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path))

    monkeypatch.setattr(verified_export, name, fails)
    with says(ExportError, f"the export cannot be written ({os.strerror(code)}), out, choose another folder"):
        project.export(project.recipe, tmp_path / "out")
    assert names(tmp_path) == []


# Files.


def test_a_file_that_vanishes_after_the_check_is_told(mine: Path) -> None:
    opened = Project.open(tiny.recipe(mine, "task_arithmetic"), device="cpu")
    (mine / "bees.safetensors").unlink()
    with says(CheckpointError, "bees: the file changed while it was read, bees.safetensors, start again"):
        opened.merge(opened.recipe)


@pytest.mark.parametrize("kept", ["nothing", "size", "size and time"])
def test_a_file_that_changes_between_check_and_merge_is_told(mine: Path, kept: str) -> None:
    opened = Project.open(tiny.recipe(mine, "task_arithmetic"), device="cpu")
    path = mine / "bees.safetensors"
    before = path.stat()
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(bytes(raw) + b"\0" * (kept == "nothing"))
    if kept == "size and time":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with says(CheckpointError, "bees: the file changed while it was read, bees.safetensors, start again"):
        opened.merge(opened.recipe)


def test_images_that_change_after_the_check_end_in_a_sentence(mine: Path) -> None:
    opened = Project.open(tiny.recipe(mine, "esm"), device="cpu")
    (mine / "bees_proxies.safetensors").write_bytes(b"no images any more")
    with pytest.raises(EsmVizError, match="bees_proxies"):
        opened.merge(opened.recipe)


# A process that is killed.


def killed(work: Callable[[], object]) -> None:
    """Run work in a copy of this process that is killed in the middle of it; fail where it ends in another way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of threads beside a fork
        child = os.fork()
    if not child:
        try:
            signal.alarm(60)
            work()
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("words", ["writing", "reading again", "test images of the file", "putting in place"])
def test_killed_before_all_is_proved_an_export_leaves_the_earlier_one_whole(
    tmp_path: Path, project: Project, words: str
) -> None:
    out, other = tmp_path / "out", with_parameters(project.recipe, alpha=0.6)
    project.export(project.recipe, out)
    before = digests(out)
    progress = Progress(lambda _, said: die() if words in said else None)
    killed(lambda: project.export(other, out, progress))
    left = [path for path in out.iterdir() if path.name not in before]
    assert len(left) == 1
    shutil.copytree(out, tmp_path / "seen", ignore=lambda *_: [left[0].name])
    assert digests(tmp_path / "seen") == before
    project.export(other, out)
    assert names(out) == sorted(before)


@pytest.mark.parametrize("rename", range(1, 7))
def test_killed_between_two_renames_the_next_export_finds_its_way(
    tmp_path: Path, project: Project, rename: int
) -> None:
    out, other = tmp_path / "out", with_parameters(project.recipe, alpha=0.6)
    project.export(other, tmp_path / "wanted")
    wanted = digests(tmp_path / "wanted")
    project.export(project.recipe, out)
    (out / "experts.safetensors").write_bytes(b"of an earlier export")
    (out / "notes.txt").write_text("mine", encoding="utf-8")

    def until(count: int) -> None:
        done, move = 0, Path.replace

        def replace(self: Path, target: Path) -> Path:
            nonlocal done
            if done or Path(target).name == verified_export.PLACING:
                done += 1
            if done > count + 1:
                die()
            return move(self, target)

        Path.replace = replace  # type: ignore[assignment,method-assign]  # in the copy of this process alone
        project.export(other, out)

    killed(lambda: until(rename))
    verified_export.finish_interrupted(out)
    assert names(out) == sorted([*wanted, "notes.txt"])
    (out / "notes.txt").unlink()
    assert digests(out) == wanted


# Numbers.


def extreme(folder: Path, name: str) -> Project:
    """Return a project one of whose experts has finite weights that overflow what flows through it."""
    change(folder, "bees", lambda held: held[name].fill_(3e38))
    return Project.open(tiny.recipe(folder, "esm"), device="cpu")


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.needs != "delta"])
def test_activations_that_overflow_are_told_with_task_and_layer(mine: Path, method: str) -> None:
    opened = extreme(mine, "conv1.weight")
    text = (
        "bees: its proxies give NaN or Inf, at the input of transformer.resblocks.0.attn.in_proj_weight, "
        "look for extreme numbers in its weights"
    )
    with says(NumericsError, text):
        opened.merge(tiny.recipe(mine, method))


def test_they_are_told_at_the_first_layer_that_sees_them(mine: Path) -> None:
    opened = extreme(mine, "transformer.resblocks.1.mlp.c_fc.weight")
    text = (
        "bees: its proxies give NaN or Inf, at the input of transformer.resblocks.1.mlp.c_proj.weight, "
        "look for extreme numbers in its weights"
    )
    with says(NumericsError, text):
        opened.merge(opened.recipe)


def test_a_fusion_that_overflows_is_told_with_its_layer(tiny_folder: Path) -> None:
    raw = tiny.mapping("task_arithmetic")
    for model in raw["models"]:
        model["weight"] = 1.7e308
    from esm_viz.core.recipe import parse_mapping
    from esm_viz.merge import settle

    opened = Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")
    with pytest.raises(NumericsError, match=r"the merged change is not finite, at transformer\.resblocks\.0\."):
        opened.merge(opened.recipe)


def test_weights_too_large_for_their_type_are_told_with_their_tensor(mine: Path) -> None:
    change(mine, "bees", lambda held: held["ln_pre.weight"].mul_(1e6))
    opened = Project.open(tiny.recipe(mine, "task_arithmetic"), device="cpu")
    text = "the merged weights do not fit into float16, at ln_pre.weight, lower α, or choose a wider type"
    with says(NumericsError, text):
        opened.materialize(opened.recipe.replace(dtype="float16"))


def test_answers_are_never_made_of_features_that_are_no_numbers(mine: Path) -> None:
    opened = extreme(mine, "conv1.weight")
    text = (
        "the model's features hold NaN or Inf, bees on the validation images of bees, "
        "look for extreme weights, or lower α"
    )
    with says(NumericsError, text):
        opened.own_accuracy()


def test_a_worker_that_dies_ends_the_work_with_its_error_and_not_the_process(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Project.open(tiny.recipe(mine, "esm"), device="cpu")
    stages = type(opened.stages)
    whole, broken = stages.decomposition, threading.Event()

    def decomposition(self: Any, *arguments: Any) -> Any:
        if not broken.is_set():
            broken.set()
            raise MemoryError("out of memory in a worker")
        return whole(self, *arguments)

    monkeypatch.setattr(stages, "decomposition", decomposition)
    with pytest.raises(MemoryError):
        opened.prepare()
    opened.prepare()  # nothing half-made was kept
    assert opened.merge(opened.recipe).interference
