"""Recipes from names: what tasks are called, and which architecture they have."""

from __future__ import annotations

from pathlib import Path

import pytest

from esm_viz.hub.hub_name import parse_model
from esm_viz.hub.pasted_names import pasted_model, pasted_models
from esm_viz.inspection.recipe_from_names import recipe_from_names, task_names
from tests.support import hub_models
from tests.support.loopback_hub import LoopbackHub, used_here


@pytest.mark.parametrize(
    ("names", "tasks"),
    [
        (
            ["me/clip-b32_mnist", "me/clip-b32_stanford-cars", "me/clip-b32_oxford_flowers"],
            ["mnist", "stanford-cars", "oxford_flowers"],
        ),
        (["me/clip-b32_dtd", "me/clip-b32_dmd"], ["dtd", "dmd"]),
        (["me/b32_dtd_lora-16", "me/b32_svhn_lora-16"], ["dtd", "svhn"]),
        (["me/clip-b32_mnist"], ["mnist"]),
        (["me/ants", "you/bees"], ["ants", "bees"]),
        (["me/ants", "you/ants"], ["me-ants", "you-ants"]),
        (["me/all/ants.safetensors", "me/all/bees.safetensors"], ["ants", "bees"]),
        (["me/clip-b32"], ["clip-b32"]),
    ],
)
def test_tasks_are_called_by_what_their_names_do_not_share(names: list[str], tasks: list[str]) -> None:
    found = task_names(parse_model("hf://openai/clip-b32"), [parse_model(f"hf://{name}") for name in names])
    assert found == tasks


def test_a_recipe_has_the_bases_architecture_and_leaves_the_base_out_of_the_tasks(tmp_path: Path) -> None:
    with LoopbackHub() as hub, used_here(hub, tmp_path / "home"):
        hub_models.put_models(hub, tmp_path)
        models = pasted_models("me/tiny-clip*")
        recipe = recipe_from_names(pasted_model(hub_models.BASE), models)
    assert recipe.tasks == hub_models.TASKS
    assert recipe.base == f"hf://{hub_models.BASE}"
    assert recipe.arch_config is not None
    assert recipe.arch_config["vision_cfg"]["width"] == 16
