"""Few captions, some of them wrong: how many, and whose."""

import numpy as np
import torch

from esm_viz.demo.base_training import contrastive
from esm_viz.demo.labelled_pictures import Labelled, Task
from esm_viz.demo.text_tower_training import Plan, few_captions


def a_task(classes: int, each: int) -> Task:
    """Pictures whose every byte is their class."""
    labels = np.repeat(np.arange(classes), each)
    images = np.broadcast_to(labels[:, None, None, None], (len(labels), 32, 32, 3)).astype(np.uint8)
    part = Labelled(images, labels)
    return Task(
        "t",
        "picture of {}",
        tuple(f"C{i}" for i in range(classes)),
        dict.fromkeys(("train", "validation", "test"), part),
    )


def right(images: np.ndarray, captions: list[str]) -> int:
    return sum(caption == f"picture of c{image[0, 0, 0]}" for image, caption in zip(images, captions, strict=True))


def test_without_wrong_captions_each_class_is_shown_equally_often_under_its_own_name():
    images, captions = few_captions([a_task(5, 4)], np.random.default_rng(0), Plan(shown=2, wrong=0.0))
    assert len(images) == len(captions) == 10
    assert right(images, captions) == 10


def test_the_asked_share_of_captions_is_moved_and_no_caption_is_lost():
    rng = np.random.default_rng(0)
    images, captions = few_captions([a_task(40, 3)], rng, Plan(shown=1, wrong=0.25))
    assert right(images, captions) == 30
    assert sorted(captions) == sorted(f"picture of c{i}" for i in range(40))


def test_pictures_of_one_caption_are_no_negatives_of_each_other():
    pictures = torch.eye(3)[[0, 0, 1, 2]]  # two pictures share a caption; all agree with their text
    tokens = torch.tensor([[1], [1], [2], [3]])
    loss = contrastive(pictures, pictures.clone(), tokens, torch.tensor(10.0))
    torch.testing.assert_close(loss, torch.log(torch.tensor(2.0)) / 2)  # only the choice between the two is left
