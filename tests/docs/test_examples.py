"""The Python blocks of README and docs/ run, on the demo, in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

import esm_viz
from tests.support.pages import PAGES, ROOT, blocks, named

EXAMPLES = [
    pytest.param(page, code, id=f"{named(page)} {at + 1}")
    for page in PAGES
    for at, code in enumerate(blocks(page, "python"))
]


@pytest.mark.parametrize(("page", "code"), EXAMPLES)
def test_a_python_block_runs(page: Path, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    before = dict(esm_viz.METHODS)
    names: dict[str, object] = {"__name__": "example"}
    try:
        exec(compile(code, named(page), "exec"), names)
        for name in esm_viz.METHODS.keys() - before.keys():  # a method that is explained by a whole one
            check_method(name)
    finally:
        esm_viz.METHODS.clear()
        esm_viz.METHODS.update(before)
    assert len(names) > 2  # it did something


def check_method(name: str) -> None:
    """Merge the demo by a method, which changes something at every layer."""
    recipe = esm_viz.with_method(esm_viz.load_recipe("assets/demo/recipe.yaml"), name)
    report = esm_viz.Project.open(recipe, device="cpu").merge(recipe)
    assert all(norm > 0 for norm in report.norms.after)


def test_the_examples_are_on_the_pages_that_need_them() -> None:
    pages = {parameters.values[0] for parameters in EXAMPLES}
    assert {named(page) for page in pages} >= {"README.md", "docs/methods.md", "docs/contributing.md"}  # type: ignore[arg-type]
