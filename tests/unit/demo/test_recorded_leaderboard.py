"""The leaderboard that the demo opens with is what the package measures today."""

import json
from pathlib import Path

import pytest

from esm_viz import Project, load_recipe
from esm_viz.merge import METHODS
from esm_viz.project.leaderboard import KEPT, kept_board

DEMO = Path(__file__).parents[3] / "assets" / "demo"
TABLE = json.loads((DEMO / "record.json").read_text(encoding="utf-8"))["table"]
NEAR = 2  # images: another processor rounds a forward pass otherwise


@pytest.fixture(scope="module")
def project() -> Project:
    return Project.open(load_recipe(DEMO / "recipe.yaml"), device="cpu")


def test_every_method_has_a_row_that_is_believed(project: Project) -> None:
    assert (DEMO / KEPT).is_file()
    assert [row.recipe.method for row in kept_board(project)] == list(METHODS)


def test_its_rows_are_those_of_the_builders_table(project: Project) -> None:
    rows = {row.recipe.method: row.evaluation for row in kept_board(project)}
    for name in set(METHODS) & set(TABLE):
        assert rows[name].alpha == TABLE[name]["alpha"]
        for task in rows[name].tasks:
            assert round(100 * task.merged.accuracy, 2) == pytest.approx(TABLE[name]["tasks"][task.task], abs=0.4)


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(TABLE)))  # the table's own test measures the others
def test_a_row_is_what_evaluate_gives_today(project: Project, name: str) -> None:
    row = next(row for row in kept_board(project) if row.recipe.method == name)
    found = project.evaluate(row.recipe, "test")
    for which in ("pretrained", "finetuned", "merged", "oracle"):
        for score, kept in zip(found.scores(which), row.evaluation.scores(which), strict=True):
            assert score.n == kept.n
            assert abs(score.correct - kept.correct) <= NEAR
    if found.routing is not None:
        assert found.routing.layers == row.evaluation.routing.layers
        for layer, told in zip(found.routing.routes, row.evaluation.routing.routes, strict=True):
            for here, there in zip(layer, told, strict=True):
                assert here == pytest.approx(there, abs=0.01)
