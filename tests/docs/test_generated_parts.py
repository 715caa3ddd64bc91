"""The generated parts of README and docs/ are what the program and the demo's record say today."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from esm_viz import METHODS, PRESETS
from tests.support.pages import PAGES, ROOT, generator, named, read


@pytest.fixture(scope="module")
def readme() -> ModuleType:
    return generator()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_generated_parts_are_up_to_date(readme: ModuleType, page: Path) -> None:
    assert readme.filled(read(page)) == read(page), "run script/readme"


def test_every_generated_part_stands_on_one_page(readme: ModuleType) -> None:
    everything = "\n".join(map(read, PAGES))
    parts = re.findall(r"^<!-- (\w+) -->$", everything, re.MULTILINE)
    assert sorted(parts) == sorted(readme.SECTIONS)
    assert sorted(re.findall(r"^<!-- end (\w+) -->$", everything, re.MULTILINE)) == sorted(parts)


def test_a_part_that_is_out_of_date_is_made_anew(readme: ModuleType) -> None:
    stale = "before\n<!-- methods -->\nold\n<!-- end methods -->\nafter\n"
    assert readme.filled(stale) == f"before\n<!-- methods -->\n{readme.methods()}\n<!-- end methods -->\nafter\n"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_in_the_table(readme: ModuleType, name: str) -> None:
    assert f"| `{name}` | {METHODS[name].summary} |" in readme.methods()


@pytest.mark.parametrize("name", sorted({knob for method in METHODS.values() for knob in method.knobs}))
def test_every_knob_is_in_the_table(readme: ModuleType, name: str) -> None:
    assert readme.knobs().count(f"| `{name}` |") == 1


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_is_in_the_table(readme: ModuleType, name: str) -> None:
    assert readme.presets().count(f"\n| `{name}` |") == 1


def test_commands_have_their_own_arguments_and_say_which_are_needed(readme: ModuleType) -> None:
    sections = dict(re.findall(r"^### ([^\n]+)\n\n(.*?)(?=^### |\Z)", readme.commands(), re.MULTILINE | re.DOTALL))
    assert {"find", "check", "explore", "merge", "evaluate", "sweep", "tune", "encode", "app"} <= set(sections)
    assert "| `--out DIR` | yes |" in sections["merge"]
    assert "| `--report` |  | write report.html too" in sections["merge"]
    assert "| `recipe` |  | recipe.yaml; the embedded demo where absent |" in sections["app"]
    assert "| `--device DEVICE` | auto, cpu or cuda | all but find, papers, push |" in readme.commands()


def test_rooms_are_the_folders_of_the_package(readme: ModuleType) -> None:
    found = re.findall(r"^\| `(esm_viz/.+)/` \| (.+) \|$", readme.rooms(), re.MULTILINE)
    packages = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "esm_viz").rglob("*/__init__.py")}
    assert [folder for folder, _ in found] == sorted(packages, key=lambda folder: folder.split("/"))
    assert all(sentence.endswith(".") for _, sentence in found)
