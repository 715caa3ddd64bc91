"""Presets are the papers' settings as METHOD writes them, and a recipe knows which of them it is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from esm_viz.cli.command_line import main
from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.merge import METHODS, with_method, with_parameters
from esm_viz.merge.preset_lookup import PRESETS, preset_of, with_preset
from tests.support import tiny
from tests.support.errors import says

EXPONENTS = ("spectrum_exponent", "task_exponent", "dimension_exponent", "layer_exponent")
PUBLISHED = {  # METHOD, ESM: γ, p_task, p_dim, p_layer
    "esm_unscaled": (0.0, 0.0, 0.0, 0.0),
    "esm_cvpr": (0.0, 2.0, 2.0, 2.0),
    "esm_journal": (0.15, 2.0, 2.0, 2.0),
    "esmpp_8": (0.15, 2.0, 2.0, 2.0),
    "esmpp_32": (0.15, 2.0, 2.0, 2.0),
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return tiny.recipe(tmp_path_factory.mktemp("nothing"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_exponents_are_those_of_the_papers(recipe: Recipe, name: str) -> None:
    parameters = with_preset(recipe, name).parameters
    assert tuple(parameters[exponent] for exponent in EXPONENTS) == PUBLISHED[name]
    assert (parameters["rank_ratio"], parameters["gain"], parameters["alpha_scope"]) == (1.0, 2.0, "all")


def test_the_small_and_the_large_experts_are_8_and_32(recipe: Recipe) -> None:
    assert [with_preset(recipe, name).parameters["expert_rank"] for name in ("esmpp_8", "esmpp_32")] == [8, 32]


def test_alpha_is_set_where_the_paper_names_it(recipe: Recipe) -> None:
    named = {name: preset.parameters["alpha"] for name, preset in PRESETS.items() if preset.fixes_alpha}
    assert named == {"averaging": 1.0, "task_arithmetic": 0.3, "tsv_m": 1.0}
    moved = with_parameters(with_method(recipe, "tsv_m"), alpha=0.7)
    assert with_preset(moved, "tsv_m").parameters["alpha"] == 1.0


def test_a_searched_alpha_stays_between_presets_of_the_same_weights_and_no_others(recipe: Recipe) -> None:
    searched = with_parameters(recipe, alpha=0.73)
    for name in ("esm_unscaled", "esm_cvpr", "esmpp_8"):
        assert with_preset(searched, name).parameters["alpha"] == 0.73
    assert with_preset(searched, "ties").parameters["alpha"] == METHODS["ties"].defaults["alpha"]


@pytest.mark.parametrize("name", PRESETS)
def test_a_recipe_knows_its_preset_whatever_a_searched_alpha(recipe: Recipe, name: str) -> None:
    made = with_preset(recipe, name)
    found = preset_of(made)
    assert found is PRESETS[name]
    assert (preset_of(with_parameters(made, alpha=0.41)) is found) is not found.fixes_alpha


def test_another_knob_or_a_weight_makes_it_a_setting_of_its_own(recipe: Recipe) -> None:
    assert preset_of(with_parameters(recipe, task_exponent=1.9)) is None
    first, *others = recipe.models
    weighed = recipe.replace(models=(dataclasses.replace(first, weight=0.5), *others))
    assert preset_of(weighed) is None
    assert {model.weight for model in with_preset(weighed, "esm_cvpr").models} == {1.0}


def test_every_method_has_a_preset() -> None:
    assert {preset.method for preset in PRESETS.values()} == set(METHODS)
    assert all(preset.source and preset.says for preset in PRESETS.values())


def test_an_unknown_preset_gets_the_nearest_one_named(recipe: Recipe) -> None:
    with says(RecipeError, f"there is no preset 'esm_jurnal' (did you mean esm_journal?), use {', '.join(PRESETS)}"):
        with_preset(recipe, "esm_jurnal")


def test_the_command_line_applies_a_preset_before_what_is_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_project(tmp_path)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tiny.mapping("tsv_m")), encoding="utf-8")
    call = ["evaluate", str(path), "--preset", "esm_cvpr", "--set", "task_exponent=1", "--json", "--device", "cpu"]
    assert main(call) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["method"] == "esm"
    assert [told["parameters"][name] for name in EXPONENTS] == [0.0, 1.0, 2.0, 2.0]
    assert main([*call[:3], "magic"]) == 2
    assert "there is no preset 'magic'" in capsys.readouterr().err
