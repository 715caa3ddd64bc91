"""The report of an export: what it says is what was proved, whatever the tasks are called."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from esm_viz.cli.command_line import main
from esm_viz.core.progress import NO_PROGRESS
from esm_viz.core.recipe import Recipe, parse_mapping
from esm_viz.core.records import ExportProof
from esm_viz.merge import settle, with_parameters
from esm_viz.project.project import Project
from esm_viz.report import explore_page
from esm_viz.report.html_report import Ranked, Story, report_page
from tests.support import tiny
from tests.support.exports import names

ROGUE = "<i onmouseover=alert(1)>'ants'"


@pytest.fixture(scope="module")
def project(tiny_folder: Path) -> Project:
    raw = tiny.mapping(alpha=0.7)
    raw["models"][0]["name"] = ROGUE
    raw["models"][0]["weight"] = 0.5
    return Project.open(settle(parse_mapping(raw, tiny_folder)), device="cpu")


@pytest.fixture(scope="module")
def page(project: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ExportProof, Recipe, Path]:
    recipe = project.recipe.replace(dtype="float16")
    told = explore_page.story(project, recipe, NO_PROGRESS)
    other = with_parameters(recipe, alpha=0.2)
    board = [Ranked("ESM", told.shown[1], True), Ranked("Other", project.evaluate(other, "test"), False)]
    story = Story(told.inspection, told.pictures, told.shown, board, "State A in the pictures: ESM, α 0.1.")
    seen: list[tuple[ExportProof, Recipe]] = []

    def make(proof: ExportProof, written: Recipe) -> str:
        seen.append((proof, written))
        return report_page(proof, written, story)

    out = tmp_path_factory.mktemp("report") / "out"
    project.export(recipe, out, layout="clip", page=make)
    return (out / "report.html").read_text("utf-8"), *seen[0], out


def test_the_report_lies_beside_the_files_and_the_proof_counts_it(project: Project, tmp_path: Path) -> None:
    proof = project.export(project.recipe, tmp_path / "out", page=lambda proof, written: "<p>mine</p>")
    assert names(tmp_path / "out") == sorted(proof.files)
    assert (proof.written[-1].name, proof.written[-1].bytes) == ("report.html", 11)
    project.export(project.recipe, tmp_path / "out")  # one without takes the old one away: it was of other files
    assert "report.html" not in names(tmp_path / "out")


def test_its_formulas_and_symbols_are_typeset(page: tuple[str, ExportProof, Recipe, Path]) -> None:
    lead = page[0].split('<p class="lead">')[1].split("</p>")[0]
    assert lead.startswith("<math>")
    assert "<msub><mi>p</mi><mrow><mtext>task</mtext></mrow></msub>" in lead
    assert "<sub>" not in lead


def test_every_check_is_in_it_on_both_sides(page: tuple[str, ExportProof, Recipe, Path]) -> None:
    text, proof, _, _ = page
    plain = unescape(re.sub(r"<[^>]+>", " ", text))
    assert proof.conditions in plain
    for row in proof.rows:
        assert row.what in plain
        assert row.on_screen in plain or row.on_screen[:10] in plain
    assert f"{len(proof.rows)} of {len(proof.rows)} checks agree" in plain


def test_it_says_numbers_files_and_how_to_make_it_again(
    page: tuple[str, ExportProof, Recipe, Path], project: Project
) -> None:
    text, proof, written, out = page
    evaluation = project.evaluate(project.recipe.replace(dtype="float16"), "test")
    assert f"<td>{100 * evaluation.tasks[1].merged.accuracy:.1f} (" in text
    assert all(file.sha256 in text for file in proof.written)
    assert all(model.sha256 in text for model in written.models)
    assert "python -m esm_viz merge recipe.yaml --out again --layout clip" in text
    assert "dtype: float16" in text
    assert "State A in the pictures: ESM, α 0.1." in text
    assert "<td>Other, as set</td><td>0.2</td>" in text
    assert str(out.parent) not in text
    assert str(project.recipe.folder) not in text


def test_a_tasks_name_is_text_and_nothing_else(page: tuple[str, ExportProof, Recipe, Path]) -> None:
    assert "<i onmouseover" not in page[0]
    assert "&lt;i onmouseover" in page[0]


def test_the_command_line_writes_it_too(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tiny.recipe(tiny_folder, alpha="search").seen_from(tmp_path)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    out = tmp_path / "out"
    assert main(["merge", str(tmp_path / "recipe.yaml"), "--out", str(out), "--report", "--layout", "clip"]) == 0
    text = (out / "report.html").read_text("utf-8")
    assert text.count(" data-picture>") > 10
    assert "✓ layout: open_clip CLIP, visual. names" in capsys.readouterr().out


def test_a_layout_that_is_not_there_is_refused_before_files_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "out"), "--layout", "onnx"]) == 2
    assert "argument --layout: invalid choice: 'onnx'" in capsys.readouterr().err
