"""The package as somebody else gets it: built, installed into an empty environment, run by who may not write to it."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = 65534
DROP_CAPABILITY = 24  # prctl's number


@dataclass(frozen=True)
class Installed:
    """An environment that holds nothing but the package; what it needs is looked for in that of the tests.

    Attributes:
        bin: the folder of its commands.
        data: the one folder that its user may write to, also the working directory.
    """

    bin: Path
    data: Path

    def start(self, *command: object, **more: Any) -> subprocess.Popen[str]:
        """Start a command as a user without write permission to the package."""
        names = {
            "HOME": str(self.data),
            "TMPDIR": str(self.data),
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
        }
        settings: dict[str, Any] = {"cwd": self.data, "env": names | {"PYTHONDONTWRITEBYTECODE": "1"}, "text": True}
        return subprocess.Popen([str(word) for word in command], **settings, **less_privileged(), **more)

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Run such a command to its end."""
        with self.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @property
    def package(self) -> Path:
        """Return the folder of the installed package."""
        (found,) = self.bin.parent.glob("lib/python*/site-packages/esm_viz")
        return found


def less_privileged() -> dict[str, Any]:
    """Return what makes a new process obey permissions: root is another user then, or root without its privileges."""
    if os.geteuid() != 0:
        return {}
    if all(
        folder.stat().st_mode & 0o001
        for place in (sys.prefix, sys.base_prefix)
        for folder in (Path(place), *Path(place).parents)
    ):
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    prctl = ctypes.CDLL(None).prctl  # the environment of the tests is in a folder that only root may enter
    return {"preexec_fn": lambda: [prctl(DROP_CAPABILITY, capability, 0, 0, 0) for capability in range(64)]}


def python(*words: object, cwd: Path, **variables: str) -> None:
    """Run the tests' Python, without a network and without this machine's settings of pip."""
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_CONFIG_FILE": os.devnull}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | offline
    command = [sys.executable, *(str(word) for word in words)]
    done = subprocess.run(command, cwd=cwd, env=environment | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def sources() -> list[str]:
    """Return the names of all files that belong to the checkout, new ones too."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def copy(names: list[str], to: Path) -> Path:
    """Copy these files of the checkout to a folder, since a build leaves its own files beside them."""
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, to / name)
    return to


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """Return a folder that everybody may enter."""
    folder = Path(tempfile.mkdtemp(prefix="esm_viz_packaging-")).resolve()
    folder.chmod(0o755)
    yield folder
    writable(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def sdist(place: Path) -> Path:
    """Build the source distribution from a copy of the checkout."""
    folder = copy(sources(), place / "checkout")
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    python("-c", build, place / "sdist", cwd=folder)
    (found,) = (place / "sdist").glob("*.tar.gz")
    return found


@pytest.fixture(scope="session")
def wheel(place: Path, sdist: Path) -> Path:
    """Build the wheel from the source distribution."""
    python("-m", "pip", "wheel", "--quiet", "--wheel-dir", place / "wheel", sdist, cwd=place)
    (found,) = (place / "wheel").glob("*.whl")
    return found


@pytest.fixture(scope="session")
def installed(place: Path, wheel: Path) -> Installed:
    """Install the wheel into an empty environment."""
    environment, data = place / "environment", place / "data"
    python("-m", "venv", "--without-pip", environment, cwd=place)
    inside = ("--python", environment / "bin" / "python", "install", "--quiet", "--no-compile")
    python("-m", "pip", *inside, wheel, cwd=place)
    borrow(environment)
    data.mkdir()
    data.chmod(0o777)
    for path in environment.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    return Installed(environment / "bin", data)


def borrow(environment: Path) -> None:
    """Let an environment find what is installed beside the tests, so that torch is not downloaded again."""
    (packages,) = environment.glob("lib/python*/site-packages")
    lines = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "beside.pth").write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")


def writable(folder: Path) -> None:
    """Give its owner the right to remove a folder."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o700)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
