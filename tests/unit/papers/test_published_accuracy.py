"""The papers' numbers are those of their tables, and stand only beside what they were measured on."""

import pytest

from esm_viz.merge import METHODS
from esm_viz.papers.papers_tasks import SIZES, papers_tasks
from esm_viz.papers.published_accuracy import EXPERTS, PRETRAINED, Published, published, row_of


def names(count: int) -> list[str]:
    return [task.name for task in papers_tasks()[:count]]


@pytest.mark.parametrize(
    ("arch", "tasks", "row", "number"),
    [
        ("ViT-B-32", 8, "esm", Published(88.6, 95.4)),
        ("ViT-B-32-quickgelu", 14, "tsv_m", Published(80.1, 87.9)),
        ("ViT-B-32", 20, "esmpp 32", Published(87.2, 95.5)),
        ("ViT-B-32", 20, PRETRAINED, Published(56.1)),
        ("ViT-B-16", 8, "iso_cts", Published(91.1)),
        ("ViT-L-14", 14, "ties", Published(79.5)),
        ("ViT-L-14-quickgelu", 20, EXPERTS, Published(94.7)),
    ],
)
def test_a_cell_is_the_papers(arch: str, tasks: int, row: str, number: Published) -> None:
    assert published(arch, names(tasks))[row] == number


@pytest.mark.parametrize(("arch", "tasks"), [("ViT 6 x 128", 8), ("ViT-B-32", 9), ("ViT-H-14", 8), ("RN50", 8)])
def test_other_models_and_numbers_of_tasks_have_none(arch: str, tasks: int) -> None:
    assert published(arch, names(tasks)) == {}


def test_as_many_other_tasks_have_none() -> None:
    assert published("ViT-B-32", [*names(7), "animals"]) == {}
    assert published("ViT-B-32", [f"{name}Val" for name in reversed(names(8))]) != {}


def test_every_row_is_a_reference_or_a_method_that_is_registered() -> None:
    for count in SIZES:
        for row in published("ViT-B-32", names(count)):
            assert row in (PRETRAINED, EXPERTS) or row.split()[0] in METHODS
    assert row_of("esmpp", 32) in published("ViT-B-32", names(8))
    assert row_of("esmpp", 16) not in published("ViT-B-32", names(8))
    assert row_of("esm") in published("ViT-B-32", names(8))
