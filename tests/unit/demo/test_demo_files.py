"""The demo's files: the same bytes from the same inputs, and readable by the package."""

import json
import zipfile

import numpy as np
import pytest
import torch
from safetensors import safe_open

from esm_viz import load_recipe
from esm_viz.data.images.image_source import Classes, normalise, open_images
from esm_viz.demo import demo_files
from esm_viz.demo.demo_tower import new_clip, pixels
from esm_viz.demo.labelled_pictures import Labelled, Task
from esm_viz.families.classification_head import read_head


@pytest.fixture
def task() -> Task:
    rng = np.random.default_rng(0)
    labels = np.arange(640) % 3
    part = Labelled(rng.integers(0, 256, (640, 32, 32, 3), dtype=np.uint8), labels)
    return Task("t", "{}", ("T-shirt", "ankle boot", "bag"), {"train": part, "validation": part, "test": part})


def test_the_same_images_give_the_same_bytes(task, tmp_path):
    for name in ("one", "two"):
        demo_files.write_images(tmp_path / name, task)
    files = [sorted(path for path in (tmp_path / name).rglob("*.zip")) for name in ("one", "two")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]


def test_labelled_images_come_back_with_their_class_and_every_byte(task, tmp_path):
    demo_files.write_images(tmp_path, task)
    listed = open_images(tmp_path / "data/t/test.zip", 32, Classes(len(task.classes), tuple(task.classes)))
    assert listed.count == demo_files.LABELLED["test"]
    with zipfile.ZipFile(tmp_path / "data/t/test.zip") as archive:
        names = sorted(archive.namelist())
    original = [int(name.rsplit("/", 1)[1].removesuffix(".webp")) for name in names]
    assert listed.labels.tolist() == task.parts["test"].labels[original].tolist()
    expected = torch.from_numpy(task.parts["test"].images[original[:5]]).permute(0, 3, 1, 2)
    torch.testing.assert_close(listed.load(range(5)), normalise(expected))


def test_proxies_are_unlabelled_and_from_the_training_part(task, tmp_path):
    demo_files.write_images(tmp_path, task)
    listed = open_images(tmp_path / "proxies/t.zip", 32)
    assert listed.count == demo_files.PROXIES
    torch.testing.assert_close(listed.load(range(32)), pixels(task.parts["train"].images[:32]))


def test_a_head_keeps_its_class_names_in_order(task, tmp_path):
    demo_files.write_head(tmp_path, task, torch.eye(3, 128))
    assert read_head(tmp_path / "heads/t.safetensors", 128).classes == task.classes
    with safe_open(tmp_path / "heads/t.safetensors", "pt") as file:
        assert json.loads(file.metadata()["classes"]) == list(task.classes)


def test_the_recipe_describes_the_tower_that_is_written(tmp_path):
    state = demo_files.rounded(new_clip(4, 0).visual.state_dict())
    demo_files.write_models(tmp_path, state, {"t": state})
    recipe = load_recipe(demo_files.write_recipe(tmp_path, ["t"], 0.5))
    assert json.loads(recipe.arch)["vision_cfg"]["layers"] == 6
    assert dict(recipe.parameters)["alpha"] == 0.5
    with safe_open(tmp_path / "models/t.safetensors", "pt") as file:
        assert set(file.keys()) == set(state)
        assert file.get_tensor("proj").dtype == torch.float16
