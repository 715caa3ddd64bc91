"""One recipe for a table from folders as people have them, measured next to the published numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from esm_viz.cli.command_line import DONE, WRONG_INPUT, main
from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import HeadWords, load_text
from esm_viz.papers.papers_tasks import papers_tasks
from esm_viz.papers.table_recipe import table_recipe
from esm_viz.project.project import Project
from tests.support import tiny
from tests.support.errors import says
from tests.support.pictures import folder_of, picture, zip_of

EIGHT = papers_tasks()[:8]
FOLDERS = {
    "SUN397": ("sun397", ("a_abbey", "a_airplane_cabin", "b_bar")),
    "Cars": ("stanford_cars", ("Acura RL Sedan 2012", "Acura TL Sedan 2012")),
    "RESISC45": ("RESISC45", ("airport", "sea_ice")),
    "EuroSAT": ("EuroSAT_splits", ("AnnualCrop", "SeaLake", "Forest")),
    "SVHN": ("svhn", ("0", "1", "9")),
    "GTSRB": ("gtsrb", ("00000", "00001", "00042")),
    "MNIST": ("MNIST", ("0", "1", "2")),
    "DTD": ("dtd", ("polka-dotted", "zigzagged")),
}
BY_FILE = ("EuroSAT", "GTSRB")  # tasks whose heads are files; the others' are made of words


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with checkpoints and data sets of the papers' 8 tasks in miniature, as people have them."""
    root = tmp_path_factory.mktemp("papers")
    checkpoints = root / "checkpoints" / "ViT-B-32"
    weights = tiny.base_weights()
    checkpoints.mkdir(parents=True)
    save_file(tiny.full_clip(weights), checkpoints / "zeroshot.safetensors")
    (root / "arch.json").write_text(json.dumps(tiny.FULL_CONFIG))
    for at, task in enumerate(EIGHT):
        folder = checkpoints / f"{task.name}Val"
        folder.mkdir()
        save_file(tiny.tuned_weights(weights, at), folder / "finetuned.safetensors")
        if task.name in BY_FILE:
            head = tiny.normal(len(task.classes), tiny.EMBED, seed=at, dtype=torch.float32)
            save_file({"weight": head}, checkpoints / f"head_{task.name}Val.safetensors")
        name, classes = FOLDERS[task.name]
        for split, seed in (("val", 0), ("test", 50)):
            files = {f"{label}/{n}.png": picture(seed + 7 * at + n) for n in range(4) for label in classes}
            if task.name == "MNIST":
                (root / "data" / name).mkdir(exist_ok=True)
                zip_of(root / "data" / name / f"{split}.zip", files)
            else:
                folder_of(root / "data" / name / split, files)
    folder_of(root / "data" / "dtd" / "proxies", {f"{n}.png": picture(90 + n) for n in range(3)})
    return root


def asked(root: Path, *more: str) -> list[str]:
    folders = ["--checkpoints", str(root / "checkpoints"), "--data", str(root / "data")]
    return ["papers", "--arch", str(root / "arch.json"), "--tasks", "8", *folders, *more]


@pytest.fixture(scope="module")
def written(place: Path) -> Path:
    out = place / "made" / "recipe.yaml"
    out.parent.mkdir()
    # A config's place is the folder itself; a name's place is its own folder below.
    shutil.copytree(place / "checkpoints" / "ViT-B-32", place / "plain")
    folders = ["--checkpoints", str(place / "plain"), "--data", str(place / "data")]
    assert main(["papers", "--arch", str(place / "arch.json"), "--tasks", "8", *folders, "--out", str(out)]) == DONE
    return out


def test_the_recipe_has_the_papers_tasks_in_order_with_all_that_belongs_to_them(written: Path) -> None:
    found = load_text(written)
    assert found.tasks == tuple(task.name for task in EIGHT)
    assert (found.method, found.parameters["alpha"], found.parameters["spectrum_exponent"]) == ("esm", "search", 0.15)
    models = {model.name: model for model in found.models}
    assert models["EuroSAT"].head == "../plain/head_EuroSATVal.safetensors"
    assert models["EuroSAT"].classes[:3] == ("AnnualCrop", "Forest", "brushland or shrubland")
    assert models["MNIST"].test == "../data/MNIST/test.zip"
    assert models["DTD"].proxies == "../data/dtd/proxies"
    assert models["SVHN"].proxies == models["SVHN"].validation == "../data/svhn/val"
    head = models["Cars"].head
    assert isinstance(head, HeadWords)
    assert (head.classes, head.templates) == (EIGHT[1].classes, EIGHT[1].templates)


def test_labels_are_the_rows_that_the_class_folders_mean(written: Path) -> None:
    project = Project.open(load_text(written), device="cpu")
    rows = {
        task: sorted({int(label) for label in images.labels})
        for task, images in project.headers.labelled["test"].items()
        if images.labels is not None
    }
    assert rows["EuroSAT"] == [0, 1, 9]
    assert rows["GTSRB"] == [0, 1, 42]
    assert rows["SUN397"] == sorted(EIGHT[0].classes.index(name) for name in ("abbey", "airplane cabin", "bar"))
    assert rows["DTD"] == [EIGHT[7].classes.index("polka-dotted"), 46]
    assert rows["MNIST"] == [0, 1, 2]


def test_evaluate_shows_the_published_numbers_beside_and_never_among_ours(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ["evaluate", str(written), "--device", "cpu", "--set", "alpha=0.5", "--json"]
    assert main(fixed) == DONE
    bare = json.loads(capsys.readouterr().out)
    assert "published" not in bare  # no paper has this tower
    monkeypatch.setattr("esm_viz.papers.published_accuracy._ACCURACY", {"ViT 2 x 16": _papers()})
    assert main(fixed) == DONE
    found = json.loads(capsys.readouterr().out)
    assert found.pop("published") == {
        "pretrained": {"accuracy": 48.3, "normalised": None},
        "finetuned": {"accuracy": 92.8, "normalised": None},
        "merged": {"accuracy": 88.6, "normalised": None},
        "sources": ["arXiv:2602.20208", "arXiv:2606.19164"],
    }
    assert {**found, "seconds": 0} == {**bare, "seconds": 0}
    assert main(fixed[:-1]) == DONE
    lines = capsys.readouterr().out.splitlines()
    mean = next(at for at, line in enumerate(lines) if line.startswith("mean"))
    assert lines[mean + 1].split()[:4] == ["published", "48.3", "92.8", "88.6"]
    assert "other fine-tunes" in lines[mean + 1]


def _papers() -> dict[str, tuple[float, float, float]]:
    rows = {"pre-trained": 48.3, "fine-tuned": 92.8, "esm": 88.6}
    return {row: (number, 0.0, 0.0) for row, number in rows.items()}


def test_a_name_of_a_tower_finds_its_own_folder_and_stands_for_openais(place: Path) -> None:
    found = table_recipe("ViT-B-32", 8, place / "checkpoints", place / "data", preset="tsv_m")
    assert found.arch == "ViT-B-32-quickgelu"
    assert found.base == "ViT-B-32/zeroshot.safetensors"
    assert (found.method, found.parameters["alpha"]) == ("tsv_m", 1.0)  # its paper fixes α


def test_all_that_is_missing_is_told_at_once(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "checkpoints" / "ViT-B-32", tmp_path / "checkpoints")
    shutil.copytree(place / "data", tmp_path / "data")
    (tmp_path / "arch.json").write_text(json.dumps(tiny.FULL_CONFIG))
    (tmp_path / "checkpoints" / "zeroshot.safetensors").unlink()
    shutil.rmtree(tmp_path / "checkpoints" / "DTDVal")
    shutil.rmtree(tmp_path / "data" / "gtsrb")
    (tmp_path / "data" / "EuroSAT_splits" / "test" / "Forest").rename(tmp_path / "data/EuroSAT_splits/test/Wood")
    assert main(asked(tmp_path, "--out", str(tmp_path / "r.yaml"))) == WRONG_INPUT
    assert capsys.readouterr().err == (
        "error: for the papers' 8 tasks there are no base (zeroshot.pt or base.safetensors); no weights of DTD; "
        "no heads of SUN397, Cars, RESISC45, SVHN, MNIST, DTD; no proxies of GTSRB; no validation images of GTSRB; "
        "no test images of GTSRB; class folders that are none of the task's in EuroSAT (AnnualCrop, SeaLake …), "
        "add what is missing under the tasks' names, or as a base one with a text tower, which makes heads from words\n"
    )
    assert not (tmp_path / "r.yaml").exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"count": 9}, "the papers have no table of 9 tasks, give 8, 14, 20"),
        ({"preset": "esm_jurnal"}, None),
    ],
)
def test_a_table_that_no_paper_has_is_refused(place: Path, change: dict[str, Any], text: str | None) -> None:
    given = {"count": 8, "preset": "esm_journal", **change}
    if text is None:
        with pytest.raises(RecipeError, match="did you mean esm_journal"):
            table_recipe("ViT-B-32", given["count"], place / "checkpoints", place / "data", preset=given["preset"])
    else:
        with says(RecipeError, text):
            table_recipe("ViT-B-32", given["count"], place / "checkpoints", place / "data")


def test_an_existing_file_is_not_written_over(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "recipe.yaml"
    out.write_text("mine")
    assert main(asked(place, "--out", str(out))) == WRONG_INPUT
    told = "error: --out recipe.yaml is no new .yaml, command line, name the recipe to write\n"
    assert capsys.readouterr().err == told
    assert out.read_text() == "mine"
