"""The files of assets/demo are those that its record names, and its table tells the story that the studio tells."""

import hashlib
import json
from pathlib import Path

import pytest

from esm_viz import Project, load_recipe, with_method, with_parameters

DEMO = Path(__file__).parents[3] / "assets" / "demo"
RECORD = json.loads((DEMO / "record.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(RECORD["files"]))
def test_a_file_is_the_recorded_one(name):
    assert hashlib.sha256((DEMO / name).read_bytes()).hexdigest() == RECORD["files"][name]["sha256"]


def test_every_file_is_recorded():
    unhashed = {"record.json", "LICENSES.md", "opening.json"}  # the last one is computed again by test_opening
    found = {path.relative_to(DEMO).as_posix() for path in DEMO.rglob("*") if path.is_file()}
    assert found - unhashed == set(RECORD["files"])


def test_the_demo_stays_small():
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 36_000_000


def test_the_recipe_holds_the_alpha_of_the_table():
    assert load_recipe(DEMO / "recipe.yaml").parameters["alpha"] == RECORD["table"]["esm"]["alpha"]


def test_the_rows_of_the_table_rise():
    means = [row["mean"] for row in RECORD["table"].values()]
    assert means == sorted(means)


@pytest.fixture(scope="module")
def project() -> Project:
    """Return the demo, opened once for all methods."""
    return Project.open(load_recipe(DEMO / "recipe.yaml"), device="cpu")


@pytest.mark.parametrize("name", ["averaging", "task_arithmetic", "tsv_m", "esm"])
def test_the_table_is_what_evaluate_gives_today(project: Project, name: str) -> None:
    table = RECORD["table"]
    recipe = with_parameters(with_method(project.recipe, name), alpha=table[name]["alpha"])
    found = project.evaluate(recipe, "test")
    for which, row in (("merged", name), ("pretrained", "pre-trained"), ("finetuned", "experts")):
        for task in found.tasks:
            score, told = getattr(task, which), table[row]["tasks"][task.task]
            # another processor rounds a forward pass otherwise: two of 600 images may stand on the edge
            assert abs(score.correct - told * score.n / 100) < 2.1, f"{row}, {task.task}"
        assert 100 * found.mean(which) == pytest.approx(table[row]["mean"], abs=0.1)
