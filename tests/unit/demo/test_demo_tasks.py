"""The eight tasks, drawn from packages that only the builder has: what can be said without them."""

import numpy as np
import pytest

pytest.importorskip("fontTools", reason="script/build-demo installs it")
pytest.importorskip("resvg_py", reason="script/build-demo installs it")

from esm_viz.demo import demo_tasks


def test_no_font_family_is_in_two_parts():
    families = {f"fonts-{i}": np.full((1, 1, 1, 1), i, dtype=np.uint8) for i in range(50)}
    parts = demo_tasks._by_part(families, np.random.default_rng(0))
    seen = [int(face[0, 0, 0, 0]) for part in parts.values() for face in part]
    assert sorted(seen) == list(range(50))
    assert all(len(part) >= 5 for part in parts.values())


def test_real_images_are_split_without_overlap(monkeypatch):
    monkeypatch.setattr(demo_tasks, "COUNTS", {"train": 40, "validation": 10, "test": 20})
    classes = [np.full((40, 28, 28), 1.0) * np.arange(40)[:, None, None] + 100 * k for k in range(2)]
    parts = demo_tasks._split_images(classes, np.random.default_rng(0))
    marks = [int(image[16, 16, 0]) for part in parts.values() for image in part.images]
    assert [len(part) for part in parts.values()] == [40, 10, 20]
    assert len(set(marks)) == len(marks)
    assert all(
        mark // 100 == label
        for part in parts.values()
        for mark, label in zip(part.images[:, 16, 16, 0], part.labels, strict=True)
    )


def test_regions_of_photographs_do_not_touch():
    (_, train), (first, last), (test, _) = (demo_tasks.REGIONS[part] for part in ("train", "validation", "test"))
    assert train <= first < last <= test


def test_classes_are_balanced():
    drawn = demo_tasks._drawn(10, lambda label, part: np.zeros((32, 32, 3), dtype=np.uint8), np.random.default_rng(0))
    assert np.bincount(drawn["test"].labels).tolist() == [demo_tasks.COUNTS["test"] // 10] * 10
