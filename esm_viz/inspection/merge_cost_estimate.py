"""The estimate of a merge's time and memory before it starts."""

from __future__ import annotations

import functools
import math
import time

import torch

from esm_viz.families.architecture import Architecture
from esm_viz.runtime.stage_cache import default_limit
from esm_viz.runtime.thread_pool import cores

_SIDE = 384  # size of the matrix product that measures this machine's speed, which takes a few milliseconds
_TRIES = 4  # the first warms up


def expected_cost(arch: Architecture, tasks: int, images: int) -> tuple[int, float]:
    """Estimate peak memory and time of decomposing and merging, from counted operations and this machine's speed.

    Args:
        arch: the model.
        tasks: number of tasks T.
        images: proxies per task.

    Returns:
        Bytes, including the stage cache at its default limit, and seconds. The estimate is rough: it distinguishes
        seconds, minutes and hours.
    """
    layers, (places, width) = arch.layers, arch.tokens
    parameters = sum(math.prod(shape) for shape in arch.shapes.values())
    tokens = images * places
    moments = sum(layer.d_in**2 for layer in layers)
    kept = 8 * tasks * (moments + sum(layer.d_out * layer.d_in for layer in layers))
    streams = 2 * tasks * 4 * tokens * width  # the inputs of two blocks for each task
    working = 8 * cores() * max((5 * layer.d_out**2 + tasks * layer.d_out * layer.d_in for layer in layers), default=0)
    memory = min(kept, default_limit()) + streams + working + 4 * parameters
    forward = tasks * 2 * parameters * tokens
    gram = tasks * 2 * moments * tokens
    # a symmetric eigenproblem costs about 10 products of its size here, a polar factor of the stack about 12
    eigen = tasks * sum(20 * min(layer.d_out, layer.d_in) ** 3 for layer in layers)
    fusion = sum(24 * layer.d_out * min(layer.d_out, layer.d_in) ** 2 + 20 * layer.d_out**3 for layer in layers)
    return memory, (forward + gram + eigen + fusion) / _operations_a_second()


def scoring_seconds(arch: Architecture, images: int) -> float:
    """Estimate the seconds of running one tower over images.

    Args:
        arch: the model.
        images: total number of images.
    """
    parameters = sum(math.prod(shape) for shape in arch.shapes.values())
    return 2 * parameters * images * arch.tokens[0] / _operations_a_second()


@functools.cache
def _operations_a_second() -> float:
    """Return float64 operations per second, from the fastest of a few products; measured once per process."""
    matrix = torch.ones(_SIDE, _SIDE, dtype=torch.float64)
    times = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - start)
    return 2 * _SIDE**3 / max(min(times), 1e-6)
