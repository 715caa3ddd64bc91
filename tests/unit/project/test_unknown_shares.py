"""Where an expert is right on none of its images: no `nan` in text, card and report, but a dash and why."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path

import pytest

from esm_viz.cli.command_line import main
from tests.support import tiny

WHY = "the expert of bees is right on none of its images, so accuracy ÷ expert’s is the mean of the other tasks"


@pytest.fixture(scope="module")
def folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("unknown") / "own"))
    tiny.mislabel(place, "bees")
    (place / "recipe.yaml").write_text(tiny.recipe(place, "averaging").to_yaml(), encoding="utf-8")
    return place


def test_the_text_of_an_evaluation_has_a_dash_and_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(folder / "recipe.yaml"), "--split", "validation", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    row = next(line for line in said.splitlines() if line.startswith("bees"))
    assert row.split()[-1] == "–"
    assert f"note: {WHY}; check heads and labels" in said.splitlines()
    assert not re.search(r"\bnan\b", said)


def test_card_and_report_of_an_export_have_a_dash_and_why(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["merge", str(folder / "recipe.yaml"), "--out", str(out), "--report", "--device", "cpu"]) == 0
    card = (out / "README.md").read_text("utf-8")
    report = unescape((out / "report.html").read_text("utf-8"))
    assert f"A dash: {WHY}; check heads and labels." in card.splitlines()
    assert f"A dash: {WHY}; check heads and labels." in report
    bees = [line for line in card.splitlines() if line.startswith("| bees | 24")]
    assert sum(line.endswith("| – |") for line in bees) == 1  # of validation; on test images the expert is right
    assert "nan |" not in card
