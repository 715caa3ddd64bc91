"""What script/server says when it cannot start: one sentence, before anything is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NO_SHELL = not Path("/bin/sh").exists()


def fake_python(folder: Path, script: str) -> Path:
    """Write a program that stands for a Python installation."""
    path = folder / "a python"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def serve(venv: Path, python: Path | str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run script/server with this Python and this place for the environment, from another folder."""
    environment = {**os.environ, "PYTHON": str(python), "ESM_VIZ_VENV": str(venv)}
    command = [str(ROOT / "script/server")]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


pytestmark = pytest.mark.skipif(NO_SHELL, reason="the scripts need a POSIX shell")


def test_an_old_python_is_refused_with_its_version(tmp_path: Path) -> None:
    python = fake_python(tmp_path, "echo old 3.9")
    run = serve(tmp_path / "venv", python, tmp_path)
    assert run.stderr == f"error: {python} is 3.9, install Python 3.11 or newer or set PYTHON to one\n"
    assert run.returncode == 1
    assert not (tmp_path / "venv").exists()


def test_a_python_without_venv_is_refused_with_the_package_to_install(tmp_path: Path) -> None:
    python = fake_python(
        tmp_path,
        f"""exec "{sys.executable}" -c 'import sys; sys.modules["venv"] = None
exec(sys.stdin.read())'""",
    )
    run = serve(tmp_path / "venv", python, tmp_path)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert run.stderr == (
        f"error: {python} ({version}) has no venv or ensurepip, install them (Debian and Ubuntu: the package "
        "python3-venv) or set PYTHON to a Python that has them\n"
    )
    assert not (tmp_path / "venv").exists()


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    run = serve(tmp_path / "venv", "no-such-python", tmp_path)
    assert (
        run.stderr == "error: PYTHON is set to no-such-python, which does not run, set it to a Python 3.11 or newer\n"
    )
    assert not (tmp_path / "venv").exists()


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "dear.txt").write_text("Dear", encoding="utf-8")
    run = serve(letters, sys.executable, tmp_path)
    assert run.stderr == (
        f"error: {letters} is there and is no virtual environment, move it away or set ESM_VIZ_VENV to another place\n"
    )
    assert (letters / "dear.txt").read_text(encoding="utf-8") == "Dear"
