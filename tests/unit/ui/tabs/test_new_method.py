"""A new method with a knob of its own is one new file: every room shows it, and no other file is edited."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import esm_viz.merge
from esm_viz.merge import METHODS, with_method
from esm_viz.merge.method_registry import Method
from esm_viz.merge.preset_lookup import PRESETS, preset_of, with_preset
from esm_viz.project.leaderboard import standings
from tests.support.pages import generator
from tests.unit.ui.conftest import Page

ROOT = Path(__file__).parents[4]
NEW = ROOT / "tests" / "support" / "agreement.py"


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Method]:
    """Put the file beside the package's own, and take it away again."""
    before, name = dict(METHODS), f"esm_viz.merge.{NEW.stem}"
    shutil.copy(NEW, tmp_path)
    monkeypatch.setattr(esm_viz.merge, "__path__", [*esm_viz.merge.__path__, str(tmp_path)])
    import_module(name)
    yield METHODS["agreement"]
    METHODS.clear()
    METHODS.update(before)
    del sys.modules[name], esm_viz.merge.agreement


def test_it_is_on_the_rail_with_its_live_formula_and_its_place(page: Page, new: Method) -> None:
    rail = page.act("rail", do="preset", value="agreement")["rail"]
    assert (rail["method"], rail["error"]) == ("agreement", "")
    assert new.title in dict(rail["menu"])["Other methods"][-2]
    page.rest()
    page.act("rail", do="knob", name="agreement_power", value=1.5)
    page.rest()
    project, recipe = page.session.project, page.session.recipe
    means = [project.stages.layer_effects(recipe, layer)["agreement_power"][0] for layer in project.layers]
    shown = next(knob for knob in page.pieces["rail"]["knobs"] if knob["name"] == "agreement_power")
    assert (shown["label"], shown["more"], shown["quiet"]) == ("Agreement power", True, False)
    ends = f"<strong>{min(means):.3f} to {max(means):.3f}</strong>"
    assert shown["live"].endswith(f"<sup>p</sup> at p = <strong>1.50</strong>: {ends}")


def test_it_says_when_its_knob_does_nothing_and_has_no_button_for_an_alpha_that_is_fixed(
    page: Page, new: Method
) -> None:
    assert 'data-do="search"' in page.act("rail", do="preset", value="tsv_m")["stats"]["html"]
    assert 'data-do="search"' not in page.act("rail", do="preset", value=new.name)["stats"]["html"]
    page.act("rail", do="knob", name="agreement_power", value=0.0)
    shown = {knob["name"]: knob for knob in page.pieces["rail"]["knobs"]}["agreement_power"]
    assert (shown["live"], shown["quiet"]) == ("No effect: agreement does not count.", True)


def test_its_presets_are_presets(page: Page, new: Method) -> None:
    assert [name for name in PRESETS if PRESETS[name].method == new.name] == ["agreement", "agreement_2"]
    made = with_preset(page.session.recipe, "agreement_2")
    assert dict(made.parameters) == {"agreement_power": 2.0, "alpha": 1.0}
    assert preset_of(made) is PRESETS["agreement_2"]
    assert preset_of(with_method(page.session.recipe, "agreement")) is PRESETS["agreement"]
    rail = page.act("rail", do="preset", value="agreement_2")["rail"]
    assert (rail["preset"], rail["method"]) == ("agreement_2", "agreement")
    assert ["agreement_2", "Agreement, p = 2", "agreement squared, α 1 (arXiv:0000.00000)"] in rail["menu"][1][1]


def test_it_is_compared_at_its_own_alpha_beside_methods_that_search_theirs(
    page: Page, new: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, searched = page.session.project, []
    search = project.search_alpha
    monkeypatch.setattr(project, "search_alpha", lambda own, report: searched.append(own.method) or search(own, report))
    for name in METHODS.keys() - {"tsv_m", new.name}:  # two are enough
        monkeypatch.delitem(METHODS, name)
    rows = list(standings(project, with_method(page.session.recipe, "tsv_m")))
    assert [row.recipe.method for row in rows] == ["tsv_m", "agreement"]
    assert searched == ["tsv_m"]


def test_it_is_in_the_readmes_tables(new: Method) -> None:
    made = generator()
    assert f"| Agreement | `agreement` | {new.summary} |" in made.methods()
    assert "| Agreement power p<sub>agree</sub> | `agreement_power` | 0 to 4 | 1.0 |" in made.knobs()


def test_it_passes_the_conformance_battery_where_only_its_file_was_added(tmp_path: Path) -> None:
    for part in ("esm_viz", "tests/conformance", "tests/support"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / part, tmp_path / part)
    shutil.copy(NEW, tmp_path / "esm_viz" / "merge")
    call = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "agreement",
        "tests/conformance/test_methods.py",
    ]
    ran = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) passed, \d+ deselected", ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert passed is not None
    assert int(passed[1]) >= 40
