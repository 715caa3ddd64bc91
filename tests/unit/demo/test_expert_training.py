"""Experts: what fine-tuning may move, and how the rate falls."""

import numpy as np
import pytest
import torch

from esm_viz.demo.base_training import schedule
from esm_viz.demo.demo_tower import new_clip
from esm_viz.demo.expert_training import Plan, _expert
from esm_viz.demo.labelled_pictures import Labelled, Task


def test_an_expert_moves_the_blocks_matrices_and_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    part = Labelled(rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8), np.arange(8) % 2)
    Task("t", "{}", ("a", "b"), {"train": part, "validation": part, "test": part}).save(tmp_path)
    base = {name: tensor.clone() for name, tensor in new_clip(4, 0).visual.state_dict().items()}
    expert = _expert(("t", torch.eye(2, 128)), base, tmp_path, 0, Plan(steps=2, images=4))
    moved = {name for name, tensor in expert.items() if not torch.equal(tensor, base[name])}
    kinds = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    assert moved == {f"transformer.resblocks.{block}.{kind}" for block in range(6) for kind in kinds}


def test_the_rate_rises_to_full_and_falls_to_a_fiftieth():
    rates = [schedule(step, 1000, 50) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[-1] == pytest.approx(0.02, abs=0.001)
    assert rates[50:] == sorted(rates[50:], reverse=True)
