"""ESM judged against float64 truth where matrices are as large as they are degenerate.

The truth is the book once more, with dense shifts and LAPACK's SVDs, and the one convention that METHOD adds: what is
at rounding level has weight 0, and a polar factor is the minimal-norm one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from esm_viz.merge import LayerUpdate, run_now
from esm_viz.merge.esm import esm
from esm_viz.numerics.essential_subspace_decomposition import esd
from esm_viz.numerics.second_moments import MomentSum
from tests.support.esm_truth import truth
from tests.support.tiny import normal, relative

TASKS = 4


def update(delta: Tensor, x: Tensor) -> LayerUpdate:
    total = MomentSum(delta.shape[1], delta.shape[0])
    total.add(x)
    moment = total.moment()
    return LayerUpdate(tuple(delta.shape), lambda: delta, lambda: moment, lambda: esd(delta, moment))


SHAPES = {"in_proj": (96, 32), "c_fc": (128, 32), "c_proj": (32, 128), "square": (48, 48)}


def changes(d_out: int, d_in: int) -> list[Tensor]:
    """Return updates with a decaying spectrum, tasks of different size."""
    rank = min(d_out, d_in)
    decay = torch.arange(1, rank + 1, dtype=torch.float64) ** -1.0
    return [
        (0.5 + at) * (normal(d_out, rank, seed=at) * decay) @ normal(rank, d_in, seed=100 + at) for at in range(TASKS)
    ]


def tokens(d_in: int, count: int = 400) -> list[Tensor]:
    """Return inputs with a large mean and a decaying covariance, as a tower's are."""
    decay = torch.arange(1, d_in + 1, dtype=torch.float64) ** -0.5
    return [normal(count, d_in, seed=200 + at) * decay + 3 * normal(d_in, seed=300 + at) for at in range(TASKS)]


Case = Callable[[list[Tensor], list[Tensor]], tuple[list[Tensor], list[Tensor]]]
CASES: dict[str, tuple[Case, float]] = {
    # name: what is done to (ΔW_t, X_t), tolerance
    "ordinary": (lambda d, x: (d, x), 1e-8),
    "identical tasks": (lambda d, x: ([d[0]] * TASKS, [x[0]] * TASKS), 1e-8),
    # Nearly equal subspaces: stacks with singular values at 1e-9 of the largest, and rounding over that.
    "the same change on other inputs": (lambda d, x: ([d[0]] * TASKS, x), 1e-5),
    "dependent tasks": (lambda d, x: ([d[0], d[1], d[0] - d[1], d[0] + 2 * d[1]], x), 1e-7),
    "one task moved nothing": (lambda d, x: ([d[0], 0 * d[1], d[2], d[3]], x), 1e-8),
    "all but one moved nothing": (lambda d, x: ([d[0], *(0 * one for one in d[1:])], x), 1e-8),
    "no task moved": (lambda d, x: ([0 * one for one in d], x), 1e-8),
    "one proxy of five tokens": (lambda d, x: (d, [one[:5] for one in x]), 1e-8),
    "one token": (lambda d, x: (d, [one[:1] for one in x]), 1e-8),
    "fewer tokens than outputs": (lambda d, x: (d, [one[:20] for one in x]), 1e-7),
    "all tokens alike": (lambda d, x: (d, [one[:1].expand(400, -1) for one in x]), 1e-8),
    "tiny": (lambda d, x: ([1e-30 * one for one in d], [1e-30 * one for one in x]), 1e-8),
    "huge": (lambda d, x: ([1e30 * one for one in d], [1e30 * one for one in x]), 1e-8),
    "one tiny task": (lambda d, x: ([d[0], 1e-9 * d[1], d[2], d[3]], x), 1e-6),
    "one task": (lambda d, x: (d[:1], x[:1]), 1e-7),  # all directions of a task, down to the weakest
    "low-rank updates": (lambda d, x: ([one[:, :3] @ one[:3, :] for one in d], x), 1e-7),
    "half precision checkpoints": (lambda d, x: ([one.half().double() for one in d], x), 1e-8),
    "bfloat16 checkpoints": (lambda d, x: ([one.bfloat16().double() for one in d], x), 1e-8),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", CASES)
def test_a_merge_is_the_float64_truth(case: str, shape: str) -> None:
    d_out, d_in = SHAPES[shape]
    change, tolerance = CASES[case]
    deltas, inputs = change(changes(d_out, d_in), tokens(d_in))
    found = esm([update(delta, x) for delta, x in zip(deltas, inputs, strict=True)], run_now)
    wanted = truth(deltas, inputs)
    assert found.shape == (d_out, d_in)
    if wanted.norm() == 0:
        assert not found.any()
    else:
        assert relative(found, wanted) < tolerance


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rho", [1.0, 0.5, 0.25, 4 / 32])
def test_a_merge_of_any_rank_is_the_float64_truth(shape: str, rho: float) -> None:
    deltas, inputs = changes(*SHAPES[shape]), tokens(SHAPES[shape][1])
    found = esm([update(delta, x) for delta, x in zip(deltas, inputs, strict=True)], run_now, rank_ratio=rho)
    assert relative(found, truth(deltas, inputs, rho)) < 1e-8
