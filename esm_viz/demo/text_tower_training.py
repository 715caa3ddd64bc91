"""A text tower that has read little: it is tuned on a locked image tower, on broad captions and a few of each task.

What the features hold and what the words can ask for differ in every CLIP; fine-tuning closes that gap, and merging
tries to keep it closed for all tasks at once. Here the gap is made by reading little, and by reading some of it
wrong, as on the web: only `shown` pictures of each class come with a caption, and a share `wrong` of those captions
belongs to other pictures of the same task. Nothing is spoilt in the image tower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from open_clip.model import CLIP
from torch import Tensor, nn

from esm_viz.demo.base_training import contrastive, schedule
from esm_viz.demo.demo_tower import Vocabulary, features
from esm_viz.demo.labelled_pictures import Captioned, Task


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is read."""

    shown: int = 2  # captioned pictures of each class
    wrong: float = 0.25  # share of these captions that belong to another picture
    steps: int = 200
    pairs: int = 256  # a step
    rate: float = 1e-3
    few: float = 0.5  # share of the pairs that are about the tasks


def learn_words(
    model: CLIP, tasks: Sequence[Task], broad: Captioned, vocabulary: Vocabulary, seed: int, plan: Plan
) -> dict[str, Tensor]:
    """Tune the text tower, and return each task's head: unit text features, (classes, 128), one row a class."""
    rng = np.random.default_rng([seed, *b"words"])
    images, captions = few_captions(tasks, rng, plan)
    pictures = features(model.visual, np.concatenate([broad.images, images]))
    tokens = vocabulary([*broad.captions, *captions])
    weights = np.repeat([(1 - plan.few) / len(broad.images), plan.few / len(images)], [len(broad.images), len(images)])
    parameters = [p for name, p in model.named_parameters() if not name.startswith("visual")]
    optimizer = torch.optim.AdamW(parameters, lr=plan.rate, weight_decay=0.1)
    for step in range(plan.steps):
        optimizer.param_groups[0]["lr"] = plan.rate * schedule(step, plan.steps, 20)
        drawn = torch.from_numpy(rng.choice(len(weights), plan.pairs, replace=False, p=weights))
        text = model.encode_text(tokens[drawn], normalize=True)
        optimizer.zero_grad(set_to_none=True)
        contrastive(pictures[drawn], text, tokens[drawn], model.logit_scale).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    model.eval()
    with torch.no_grad():
        return {task.name: model.encode_text(vocabulary(task.captions), normalize=True) for task in tasks}


def few_captions(tasks: Sequence[Task], rng: np.random.Generator, plan: Plan) -> tuple[np.ndarray, list[str]]:
    """`shown` training pictures of each class with a caption, of which a share is another picture's."""
    images, captions = [], []
    for task in tasks:
        train = task.parts["train"]
        images += [
            train.images[rng.choice(np.flatnonzero(train.labels == label), plan.shown, replace=False)]
            for label in range(len(task.classes))
        ]
        own = np.repeat(np.arange(len(task.classes)), plan.shown)
        moved = rng.choice(len(own), round(plan.wrong * len(own)), replace=False)
        own[moved] = np.roll(own[moved], 1)
        captions += [task.captions[label] for label in own]
    return np.concatenate(images), captions
