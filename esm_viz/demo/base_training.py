"""Strong features: one image tower learns the labels of all domains, and captions, before any task is merged.

Merging can recover what fine-tuning re-aligned, not what it had to learn. A real CLIP has learnt its features from
hundreds of millions of pictures; ours gets them from labels. Each domain has a linear head, thrown away
afterwards, and a ninth of each batch is contrastive: pictures against captions through a text tower.

Two processes with one thread each train faster on two cores than one process with two threads.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from esm_viz.demo.demo_tower import Vocabulary, block_matrices, features, new_clip, pixels, shifted
from esm_viz.demo.labelled_pictures import Captioned, Labelled, Task

RANKS = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast; steps, not minutes, so that a build can be repeated."""

    steps: int = 1600
    images: int = 16  # of each task, a step and process
    pairs: int = 16  # pictures with captions, a step and process
    muon_rate: float = 2e-3  # block matrices
    adam_rate: float = 1e-3  # everything else
    warmup: int = 50
    smoothing: float = 0.05
    scale: float = 20.0  # of cosines before the softmax


def pretrain(folder: Path, tasks: Sequence[str], vocabulary: Vocabulary, seed: int, plan: Plan) -> CLIP:
    """Train on the drawn data below `folder` and return the model; the heads stay behind.

    Args:
        folder: holds what `draw_task` and `draw_captioned` saved.
        tasks: whose training parts are used.
        vocabulary: covers every caption.
        seed: of the initial weights and of the order of the pictures.
        plan: length and rates.
    """
    with tempfile.TemporaryDirectory() as meeting:
        arguments = (Path(meeting), folder, tuple(tasks), vocabulary, seed, plan)
        spawn(_rank, arguments, nprocs=RANKS)
        state = torch.load(Path(meeting) / "model.pt", weights_only=True)
    model = new_clip(len(vocabulary), seed)
    model.load_state_dict(state)
    return model


def _rank(
    rank: int, meeting: Path, folder: Path, tasks: tuple[str, ...], vocabulary: Vocabulary, seed: int, plan: Plan
) -> None:
    """One of the two processes: half of every batch, the same model."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    distributed.init_process_group("gloo", init_method=f"file://{meeting}/ranks", rank=rank, world_size=RANKS)
    data = [Task.load(folder / f"{name}.npz") for name in tasks]
    model = new_clip(len(vocabulary), seed)
    heads = nn.ParameterList([functional.normalize(torch.randn(len(task.classes), 128), dim=-1) for task in data])
    _train(model, heads, data, Captioned.load(folder / "captions.npz"), vocabulary, [seed, rank], plan)
    if rank == 0:
        torch.save(model.state_dict(), meeting / "model.pt")
        for task, head in zip(data, heads, strict=True):
            print(f"probe {task.name} {probe(model.visual, head, task.parts['validation']):.3f}", flush=True)
    distributed.destroy_process_group()


def _train(
    model: CLIP,
    heads: nn.ParameterList,
    data: Sequence[Task],
    broad: Captioned,
    vocabulary: Vocabulary,
    seed: list[int],
    plan: Plan,
) -> None:
    """The loop: draw half a batch, average the gradients of both halves, step."""
    rng = np.random.default_rng(seed)
    tokens = vocabulary(broad.captions)
    parameters = [*model.parameters(), *heads.parameters()]
    optimizers = _optimizers(model, heads, plan)
    model.train()
    for step in range(plan.steps):
        rate = schedule(step, plan.steps, plan.warmup)
        for optimizer, base in optimizers:
            optimizer.param_groups[0]["lr"] = base * rate
        loss = _loss(model, heads, data, broad, tokens, rng, plan)
        model.zero_grad(set_to_none=True)
        heads.zero_grad(set_to_none=True)
        loss.backward()
        _average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer, _ in optimizers:
            optimizer.step()
        if step % 100 == 0 and seed[1] == 0:
            print(f"pretrain {step}/{plan.steps} loss {loss.item():.3f}", flush=True)


def _loss(
    model: CLIP,
    heads: Iterable[Tensor],
    data: Sequence[Task],
    broad: Captioned,
    tokens: Tensor,
    rng: np.random.Generator,
    plan: Plan,
) -> Tensor:
    """Mean cross-entropy of the tasks' labels plus the contrastive loss of the captions, from one forward pass."""
    drawn = [part[rng.integers(len(part), size=plan.images)] for part in (task.parts["train"] for task in data)]
    pairs = rng.integers(len(broad.captions), size=plan.pairs)
    images = np.concatenate([*(part.images for part in drawn), broad.images[pairs]])
    shift = rng.integers(-2, 3, size=2)
    embedded = functional.normalize(model.visual(shifted(pixels(images), shift)), dim=-1)
    *per_task, pictures = embedded.split([plan.images] * len(drawn) + [plan.pairs])
    labelled = [
        functional.cross_entropy(
            plan.scale * found @ functional.normalize(head, dim=-1).T,
            torch.from_numpy(part.labels),
            label_smoothing=plan.smoothing,
        )
        for found, head, part in zip(per_task, heads, drawn, strict=True)
    ]
    read = tokens[torch.from_numpy(pairs)]
    text = model.encode_text(read, normalize=True)
    return torch.stack(labelled).mean() + 0.25 * contrastive(pictures, text, read, model.logit_scale)


def contrastive(pictures: Tensor, text: Tensor, tokens: Tensor, logit_scale: Tensor) -> Tensor:
    """CLIP's symmetric loss of n pairs of unit features, (n, d) each; equal captions, (n, 16), share their pictures."""
    logits = logit_scale.exp().clamp(max=100) * pictures @ text.T
    same = (tokens[:, None] == tokens[None]).all(-1).float()
    target = same / same.sum(1, keepdim=True)  # symmetric: pictures of one caption are equally many in both views
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the full rate: a linear start, then half a cosine down to a fiftieth."""
    return min(1.0, (step + 1) / warmup) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))


@torch.no_grad()
def probe(tower: nn.Module, head: Tensor, part: Labelled) -> float:
    """Accuracy of a linear head."""
    found = (features(tower, part.images) @ functional.normalize(head, dim=-1).T).argmax(1)
    return float((found == torch.from_numpy(part.labels)).float().mean())


def _optimizers(model: CLIP, heads: nn.ParameterList, plan: Plan) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the image tower's block matrices, AdamW for the rest, each with its full rate."""
    matrices = list(block_matrices(model.visual))
    chosen = {id(matrix) for matrix in matrices}
    rest = [p for p in [*model.parameters(), *heads.parameters()] if id(p) not in chosen]
    muon = torch.optim.Muon(matrices, lr=plan.muon_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(rest, lr=plan.adam_rate, weight_decay=0.05, betas=(0.9, 0.98))
    return [(muon, plan.muon_rate), (adam, plan.adam_rate)]


def _average_gradients(parameters: Sequence[Any]) -> None:
    """All gradients in one message, since many small ones would wait for each other."""
    flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
    distributed.all_reduce(flat)
    parts = (flat / RANKS).split([parameter.numel() for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)
