"""What the wheel holds, and that it works where there is nothing else."""

from __future__ import annotations

import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement

from esm_viz.version import __version__
from tests.packaging.conftest import ROOT, Installed, sources


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as opened:
        return set(opened.namelist())


def test_all_assets_and_modules_are_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    found = {name for name in names(wheel) if ".dist-info/" not in name}
    expected = {f"esm_viz/{name}" for name in sources() if name.startswith("assets/")}
    assert {
        "esm_viz/assets/demo/recipe.yaml",
        "esm_viz/assets/ui/studio.js",
        "esm_viz/assets/papers/tasks.json",
    } <= expected
    assert found == expected | {name for name in sources() if name.startswith("esm_viz/")}


def test_the_source_distribution_holds_what_its_wheel_is_made_of(sdist: Path) -> None:
    with tarfile.open(sdist) as opened:
        found = {name.partition("/")[2] for name in opened.getnames()}
    assert {name for name in sources() if name.startswith(("assets/", "esm_viz/"))} <= found
    assert not [name for name in found if name.startswith("tests")]


def test_the_wheel_says_what_it_is_and_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (path,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(opened.read(path).decode())
    assert (told["Name"], told["Version"]) == ("esm_viz", __version__)
    needed = [Requirement(line) for line in told.get_all("Requires-Dist", [])]
    for file, extra in (("requirements", None), ("requirements-demo", "demo"), ("requirements-papers", "papers")):
        lines = (ROOT / f"{file}.txt").read_text(encoding="utf-8").splitlines()
        expected = {Requirement(line).name for line in lines if line and not line.startswith("#")}
        assert {
            each.name for each in needed if (f'"{extra}"' in str(each.marker) if extra else not each.marker)
        } == expected


SEEN = """
import sys, pathlib, esm_viz
print(pathlib.Path(esm_viz.__file__).parent, *sys.path, sep="\\n")
pathlib.Path(esm_viz.__file__).with_name("mine").write_text("")
"""


def test_its_user_cannot_write_to_it_and_does_not_see_the_checkout(installed: Installed) -> None:
    done = installed.run("python", "-c", SEEN)
    found, *path = done.stdout.splitlines()
    assert Path(found) == installed.package
    assert str(ROOT) not in path
    assert "PermissionError" in done.stderr


def test_the_command_checks_the_packaged_demo(installed: Installed) -> None:
    done = installed.run("esm-viz", "check", installed.package / "assets" / "demo" / "recipe.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "textures" in done.stdout
