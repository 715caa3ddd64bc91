"""docs/notebook.ipynb runs as it is, in a real kernel without a network, and its pictures are shown inline."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
PICTURE = "application/vnd.plotly.v1+json"  # what Jupyter draws with the extension that plotly brings
pytestmark = pytest.mark.xdist_group("notebook")  # one process, so that it is executed once
PATIENCE = 280  # seconds for one cell, below the limit of one test


@pytest.fixture(scope="module")
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """Run every cell in a kernel that starts in docs/, finds the package in the checkout, and writes to no home."""
    made = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        made, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": NOTEBOOK.parent}}
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        for name in ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            environment.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        return client.execute()


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_a_notebook_without_outputs(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    assert [cell.id for cell in code(notebook) if cell.outputs or cell.execution_count] == []


def test_it_has_about_ten_cells_and_a_text_before_each(notebook: nbformat.NotebookNode) -> None:
    assert 10 <= len(code(notebook)) <= 12
    kinds = [cell.cell_type for cell in notebook.cells]
    assert all(kinds[at - 1] == "markdown" for at, kind in enumerate(kinds) if kind == "code")


def test_it_imports_nothing_but_public_names(notebook: nbformat.NotebookNode) -> None:
    lines = [line for cell in code(notebook) for line in cell.source.split("\n") if "import" in line.split()[:3]]
    ours = [line for line in lines if "esm_viz" in line]
    assert ours == ["import esm_viz", "from esm_viz import figures"]


def test_every_cell_runs_and_pictures_are_inline(executed: nbformat.NotebookNode) -> None:
    shown = [cell for cell in code(executed) if cell.source.split("\n")[-1].startswith("show(")]
    assert len(shown) >= 6
    for cell in shown:
        pictures = [output.data[PICTURE] for output in cell.outputs if PICTURE in output.get("data", {})]
        assert len(pictures) == 1
        assert pictures[0]["data"]
        assert "var(--" not in str(pictures[0])  # every style token has become a colour


def test_what_it_prints_is_true_of_the_demo(executed: nbformat.NotebookNode) -> None:
    printed = "".join(
        output.text for cell in code(executed) for output in cell.outputs if output.get("name") == "stdout"
    )
    assert "8 tasks: mnist" in printed
    last = code(executed)[-1].outputs[0].text.split("\n")[-2].split()
    assert last[0] == last[2]  # N of N rows of the proof agree
    assert int(last[0]) > 20
