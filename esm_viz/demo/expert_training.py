"""Eight experts: fine-tuning that moves only the blocks' matrices, and little, against frozen text heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, multiprocessing, nn
from torch.nn import functional

from esm_viz.demo.base_training import schedule
from esm_viz.demo.demo_tower import block_matrices, new_clip, pixels, shifted
from esm_viz.demo.labelled_pictures import Task

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Plan:
    """Little drift: a small rate and few steps keep the experts near the base, where merging works."""

    steps: int = 200
    images: int = 64
    rate: float = 2e-4
    scale: float = 20.0  # of cosines before the softmax


def finetune(
    base: State, heads: Mapping[str, Tensor], folder: Path, tasks: Sequence[str], seed: int, plan: Plan
) -> dict[str, State]:
    """Fine-tune one tower a task, two tasks at a time with one thread each.

    Args:
        base: the image tower all experts start from.
        heads: unit text features of each task's classes, (classes, 128); not trained.
        folder: holds what `draw_task` saved.
        tasks: names, in the order of the recipe.
        seed: of the order of the pictures.
        plan: length and rate.
    """
    with multiprocessing.get_context("spawn").Pool(2) as pool:  # forking a process that has threads may hang
        jobs = [(name, heads[name]) for name in tasks]
        experts = pool.map(partial(_expert, base=base, folder=folder, seed=seed, plan=plan), jobs, chunksize=1)
    return dict(zip(tasks, experts, strict=True))


def _expert(job: tuple[str, Tensor], base: State, folder: Path, seed: int, plan: Plan) -> State:
    """One task's expert."""
    torch.set_num_threads(1)
    name, head = job
    train = Task.load(folder / f"{name}.npz").parts["train"]
    rng = np.random.default_rng([seed, *name.encode()])
    tower = new_clip(1, 0).visual
    tower.load_state_dict(base)
    tower.requires_grad_(False).train()
    matrices = list(block_matrices(tower))
    for matrix in matrices:
        matrix.requires_grad_(True)
    optimizer = torch.optim.AdamW(matrices, lr=plan.rate, weight_decay=0.0)
    for step in range(plan.steps):
        optimizer.param_groups[0]["lr"] = plan.rate * schedule(step, plan.steps, 20)
        drawn = train[rng.integers(len(train), size=plan.images)]
        batch = shifted(pixels(drawn.images), rng.integers(-2, 3, size=2))
        logits = plan.scale * functional.normalize(tower(batch), dim=-1) @ head.T
        optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(logits, torch.from_numpy(drawn.labels)).backward()
        nn.utils.clip_grad_norm_(matrices, 1.0)
        optimizer.step()
    return {key: value.detach().clone() for key, value in tower.state_dict().items()}
