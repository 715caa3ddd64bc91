"""The README's generated parts are what the registry and the demo's record say today, and its commands exist."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from esm_viz import METHODS
from esm_viz.cli.commands import _parser

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def generator() -> ModuleType:
    """Load script/readme, which has no suffix."""
    loader = importlib.machinery.SourceFileLoader("readme", str(ROOT / "script" / "readme"))
    spec = importlib.util.spec_from_loader("readme", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_generated_parts_are_up_to_date() -> None:
    assert generator().filled(README) == README, "run script/readme"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_in_the_table(name: str) -> None:
    assert f"| `{name}` | {METHODS[name].summary} |" in generator().methods()


def test_every_command_line_in_it_parses() -> None:
    lines = re.findall(r"^python -m esm_viz (.+?)(?:\s+#.*)?$", README, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        _parser().parse_args(shlex.split(line))  # raises where an option is unknown


def test_every_file_it_points_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
