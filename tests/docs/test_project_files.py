"""The files that people look for in a project say what the rest of it says."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_citation_names_this_program_and_both_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["title"].startswith("esm_viz")
    assert citation["license"] == "Apache-2.0"
    metadata = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'authors = [{{ name = "{citation["authors"][0]["name"]}" }}]' in metadata
    papers = {paper["identifiers"][0]["value"]: paper["title"] for paper in citation["references"]}
    assert papers == {
        "arXiv:2602.20208": "Model Merging in the Essential Subspace",
        "arXiv:2606.19164": "Essential Subspace Merging for Multi-Task Learning",
    }
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert all(f"*{title}*" in readme for title in papers.values())


def test_pre_commit_runs_what_script_test_runs_before_the_tests() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    script = (ROOT / "script" / "test").read_text(encoding="utf-8")
    checks = re.findall(r'^"\$python" (-m .+)$', script, re.MULTILINE)
    assert len(checks) == 3
    assert [hook["entry"] for hook in hooks] == [f".venv/bin/python {check}" for check in checks]
    assert all(not hook["pass_filenames"] for hook in hooks)


def test_contributing_points_to_the_page() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "(docs/contributing.md)" in text
    assert len(text.splitlines()) == 2
