"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from esm_viz.checkpoints.atomic_write import expect_writable, sha256_tensors, write_tensors, write_text, written_whole
from esm_viz.core.errors import ExportError
from tests.support.errors import says
from tests.support.tiny import normal


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """Let no file of this process grow beyond some bytes: what a full disk does, and the system's own error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_tensors_and_metadata_come_back(tmp_path: Path) -> None:
    tensors = {"a": normal(3, 4, seed=1), "b": normal(4, 3, seed=2).mT, "c": torch.tensor(2.5)}
    write_tensors(tmp_path / "x.safetensors", tensors, {"format": "pt"})
    back = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_nothing_but_the_file_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "x.txt", "α")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.txt"]
    assert (tmp_path / "deep" / "x.txt").read_bytes() == "α".encode()


def test_text_on_a_full_disk_is_refused_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "x.txt", "old")
    with says(ExportError, "x.txt cannot be written (File too large), choose another folder"), full_disk(100):
        write_text(tmp_path / "x.txt", "new" * 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == "old"


def test_tensors_on_a_full_disk_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as refused, full_disk(100):
        write_tensors(tmp_path / "x.safetensors", {"a": normal(100, 100, seed=1)}, {})
    # The reason inside the brackets is safetensors' own wording of the system's error.
    before, _, rest = str(refused.value).partition(" (")
    assert before == "x.safetensors cannot be written"
    assert rest.endswith("), choose another folder")
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_writer_leaves_nothing_and_passes(tmp_path: Path) -> None:
    def broken() -> None:
        with written_whole(tmp_path / "x") as beside:
            beside.write_text("half", encoding="utf-8")
            raise KeyError("x")

    with pytest.raises(KeyError):
        broken()
    assert not list(tmp_path.iterdir())


def test_a_rename_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with says(ExportError, "x.txt cannot be written (Permission denied), choose another folder"):
        write_text(tmp_path / "x.txt", "text")
    assert not list(tmp_path.iterdir())


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with says(ExportError, "x.txt cannot be written (File exists), choose another folder"):
        write_text(tmp_path / "file" / "x.txt", "text")


def test_the_digest_of_tensors_does_not_depend_on_order_or_strides() -> None:
    a, b = normal(3, 4, seed=1), normal(2, 2, seed=2)
    assert sha256_tensors({"a": a, "b": b}) == sha256_tensors({"b": b, "a": a.mT.contiguous().mT})


@pytest.mark.parametrize("change", ["name", "bit", "dtype", "shape", "one less"])
def test_the_digest_of_tensors_depends_on(change: str) -> None:
    a, b = torch.arange(6, dtype=torch.float32), torch.zeros(2)
    flipped = a.clone()
    flipped.view(torch.int32)[3] ^= 1
    other = {
        "name": {"c": a, "b": b},
        "bit": {"a": flipped, "b": b},
        "dtype": {"a": a.double(), "b": b},
        "shape": {"a": a.view(2, 3), "b": b},
        "one less": {"a": a},
    }[change]
    assert sha256_tensors(other) != sha256_tensors({"a": a, "b": b})


def test_tensors_of_every_kind_can_be_hashed() -> None:
    kinds = [torch.zeros(2, dtype=dtype) for dtype in (torch.bfloat16, torch.float16, torch.int64, torch.bool)]
    for tensor in [*kinds, torch.tensor(1.0), torch.zeros(0, 3)]:
        assert len(sha256_tensors({"a": tensor})) == 64


@pytest.mark.parametrize("name", ["x.json", "deep/er/x.json", "there"])
def test_a_place_where_a_file_can_be_is_expected_to_be_written_and_not_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / "there").write_text("before", encoding="utf-8")
    expect_writable(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    write_text(tmp_path / name, "after")  # what was expected is so


@pytest.mark.parametrize("name", [".", "there/x.json", "x" * 300])
def test_a_place_where_no_file_can_be_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "there").touch()
    path = tmp_path / name
    with says(ExportError, f"{path.name} cannot be written there, choose another place"):
        expect_writable(path)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("kind", ["text", "tensors"])
def test_a_new_file_has_the_rights_that_the_umask_leaves(tmp_path: Path, kind: str, umask: int) -> None:
    path = tmp_path / "x"
    before = os.umask(umask)
    try:
        write_text(path, "a") if kind == "text" else write_tensors(path, {"a": torch.zeros(2)}, {})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o664])
@pytest.mark.parametrize("kind", ["text", "tensors"])
def test_a_file_that_is_replaced_keeps_its_rights(tmp_path: Path, kind: str, mode: int) -> None:
    path = tmp_path / "x"
    path.write_text("old", encoding="utf-8")
    path.chmod(mode)
    write_text(path, "a") if kind == "text" else write_tensors(path, {"a": torch.zeros(2)}, {})
    assert path.stat().st_mode & 0o777 == mode
