"""The papers' tasks are complete, in order, and known by every usual name; data sets' classes become rows."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from esm_viz.data.class_labels import folded
from esm_viz.papers import tasks_file_build
from esm_viz.papers.papers_tasks import AGAIN, ASSET, SIZES, papers_tasks, size_of, task_named

COUNTS = {
    "SUN397": 397,
    "Cars": 196,
    "RESISC45": 45,
    "EuroSAT": 10,
    "SVHN": 10,
    "GTSRB": 43,
    "MNIST": 10,
    "DTD": 47,
    "Flowers102": 102,
    "PCAM": 2,
    "FER2013": 7,
    "OxfordIIITPet": 37,
    "STL10": 10,
    "CIFAR100": 100,
    "CIFAR10": 10,
    "Food101": 101,
    "FashionMNIST": 10,
    "EMNIST": 10,
    "KMNIST": 10,
    "RenderedSST2": 2,
}


def test_all_twenty_are_there_in_the_papers_order_with_every_class() -> None:
    assert {task.name: len(task.classes) for task in papers_tasks()} == COUNTS
    assert [task.name for task in papers_tasks()] == list(COUNTS)
    assert (8, 14, len(COUNTS)) == SIZES


def test_every_class_has_words_of_its_own_and_every_template_a_place_for_them() -> None:
    for task in papers_tasks():
        assert len({folded(name) for name in task.classes}) == len(task.classes), task.name
        assert all(name.strip() == name and "_" not in name for name in task.classes)
        assert task.templates
        assert all(template.count("{}") == 1 for template in task.templates)
    assert all(len(names) == COUNTS[name] for name, names in AGAIN.items())


def test_the_asset_says_where_every_word_is_from() -> None:
    asset = json.loads(ASSET.read_text(encoding="utf-8"))
    assert {name: source["licence"] for name, source in asset["sources"].items()} == {
        "fusion_bench": "MIT License",
        "torchvision": "BSD 3-Clause License",
    }
    for task in asset["tasks"]:
        assert {task[key].partition(":")[0] for key in ("classes_from", "templates_from")} <= set(asset["sources"])


def test_words_are_read_from_a_packages_sources_and_nothing_of_them_runs(tmp_path: Path) -> None:
    source = (
        'raise SystemExit("this was run")\n'
        'classnames = ["a_b", "c", "d", "e", "f", "g", "h"]\n'
        "fine_label = classnames_of_another = ['x_y']\n"
        "templates = [\n    lambda c: f'a photo of a {c}, \"{c}\".',\n]\n"
    )
    wheel = tmp_path / "fusion_bench-0.2.99-py3-none-any.whl"
    modules = {name for kept in tasks_file_build.TASKS.values() for name in (kept.module, kept.templates) if name}
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("fusion_bench-0.2.99.dist-info/licenses/LICENSE", "MIT License\n\nCopyright")
        for name in modules:
            archive.writestr(f"{tasks_file_build.FOLDER}/{name}.py", source)
    found = tasks_file_build.built(wheel)
    tasks = {task["name"]: task for task in found["tasks"]}
    assert found["sources"]["fusion_bench"]["version"] == "0.2.99"
    assert tasks["SUN397"]["classes"] == ["a b", "c", "d", "e", "f", "g", "h"]
    assert tasks["FER2013"]["classes"] == ["a b", "c", "d", "e", "g", "h", "f"]
    assert tasks["CIFAR100"]["templates"] == ['a photo of a {}, "{}".']
    assert tasks["KMNIST"]["classes"][:3] == ["o", "ki", "su"]


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("SUN397Val", "SUN397"),
        ("stanford_cars", "Cars"),
        ("stanford-cars", "Cars"),
        ("oxford_flowers102", "Flowers102"),
        ("oxford-iiit-pet", "OxfordIIITPet"),
        ("rendered-sst2", "RenderedSST2"),
        ("fashion_mnist", "FashionMNIST"),
        ("mnist", "MNIST"),
        ("EMNISTVal", "EMNIST"),
    ],
)
def test_a_task_is_known_however_it_is_written(name: str, task: str) -> None:
    found = task_named(name)
    assert found is not None
    assert found.name == task


@pytest.mark.parametrize("name", ["animals", "emnist_letters", "val", "", "imagenet"])
def test_other_names_are_no_task(name: str) -> None:
    assert task_named(name) is None


def test_the_papers_settings_are_known_by_their_names_alone() -> None:
    names = list(COUNTS)
    assert [size_of(names[:count]) for count in SIZES] == list(SIZES)
    assert size_of(["dtd", "mnist", "gtsrb", "svhn", "eurosat", "resisc45", "stanford_cars", "sun397"]) == 8
    assert size_of(names[1:9]) is None  # eight others
    assert size_of([*names[:7], "animals"]) is None
    assert size_of([*names[:7], names[0] + "Val"]) is None  # one of them twice
    assert size_of(names[:9]) is None


@pytest.mark.parametrize(
    ("task", "found", "rows"),
    [
        ("DTD", ["polka_dotted", "Banded"], {0: "Banded", 30: "polka_dotted", 1: "blotchy"}),
        ("EuroSAT", ["AnnualCrop", "SeaLake"], {0: "AnnualCrop", 9: "SeaLake"}),
        ("FER2013", ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"], {4: "sad", 6: "neutral"}),
        ("GTSRB", [f"{at:05}" for at in range(43)], {0: "00000", 42: "00042"}),
        ("GTSRB", [str(at) for at in range(43)], {2: "2", 10: "10"}),
        ("Flowers102", [str(at) for at in range(1, 103)], {0: "1", 9: "10", 101: "102"}),
        ("SUN397", ["a_abbey", "b_bar"], {0: "a_abbey"}),
        ("PCAM", ["0", "1"], {0: "0", 1: "1"}),
        ("KMNIST", ["お", "を"], {0: "お", 9: "を"}),
    ],
)
def test_a_sets_names_stand_at_the_rows_they_mean(task: str, found: list[str], rows: dict[int, str]) -> None:
    known = task_named(task)
    assert known is not None
    names = known.named(found)
    assert names is not None
    assert len(set(names)) == len(names) == COUNTS[task]
    assert {row: names[row] for row in rows} == rows


@pytest.mark.parametrize(
    ("task", "found"),
    [
        ("DTD", ["banded", "forest"]),
        ("GTSRB", ["00001", "00002"]),  # from 0 without it, or from 1?
        ("MNIST", [str(at) for at in range(11)]),
        ("Flowers102", ["0", "00"]),
        ("CIFAR10", ["apple", "baby"]),
    ],
)
def test_names_that_are_not_a_tasks_are_not_guessed(task: str, found: list[str]) -> None:
    known = task_named(task)
    assert known is not None
    assert known.named(found) is None
