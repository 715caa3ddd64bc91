"""What docs/install.md tells people to type is what the program and the Dockerfile take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from esm_viz.cli.argument_parser import argument_parser

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]


def test_every_command_of_ours_parses() -> None:
    given = [shlex.split(line)[1:] or ["app"] for line in LINES if line.startswith("esm-viz")]
    given += [
        ["app", *words[words.index("esm_viz") + 1 :]]
        for words in map(shlex.split, LINES)
        if words[:2] == ["docker", "run"]
    ]
    assert len(given) >= 4
    for words in given:
        argument_parser().parse_args(words)  # raises where an option is unknown


def test_every_file_and_extra_it_names_exists() -> None:
    names = re.findall(r"`(script/[\w-]+|requirements[\w-]*\.\w+|app\.py|README\.md)`", PAGE)
    assert len(set(names)) >= 6
    assert [name for name in names if not (ROOT / name).exists()] == []
    extras = re.findall(r'pip install "\.\[(\w+)\]"', PAGE)
    declared = re.findall(
        r"^optional-dependencies\.(\w+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(extras) == sorted(declared)
