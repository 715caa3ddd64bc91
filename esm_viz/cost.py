"""What a recipe will cost, told before anything heavy starts."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch

from esm_viz.cache import default_limit
from esm_viz.parallel import cores
from esm_viz.types import Layer

_SIDE = 384  # of the product that measures this machine, a few milliseconds


def expected_cost(
    layers: tuple[Layer, ...], shapes: Mapping[str, tuple[int, ...]], tasks: int, images: int
) -> tuple[int, float]:
    """Estimate peak memory and seconds of decomposing and merging, from counted operations and this machine's speed.

    Args:
        layers: the tower's matrices.
        shapes: of all its parameters.
        tasks: T.
        images: proxies a task.

    Returns:
        Bytes, with the default limit of what is kept between stages, and seconds; rough, meant for "seconds, minutes
        or hours".
    """
    parameters = sum(math.prod(shape) for shape in shapes.values())
    places, width = shapes["positional_embedding"]
    tokens = images * places
    moments = sum(layer.d_in**2 for layer in layers)
    kept = 8 * tasks * (moments + sum(layer.d_out * layer.d_in for layer in layers))
    streams = 2 * tasks * 4 * tokens * width  # each task's at two blocks
    working = 8 * cores() * max((5 * layer.d_out**2 + tasks * layer.d_out * layer.d_in for layer in layers), default=0)
    memory = min(kept, default_limit()) + streams + working + 4 * parameters
    forward = tasks * 2 * parameters * tokens
    gram = tasks * 2 * moments * tokens
    # a symmetric eigenproblem costs about 10 products of its size here, a polar factor of the stack about 12
    eigen = tasks * sum(20 * min(layer.d_out, layer.d_in) ** 3 for layer in layers)
    fusion = sum(24 * layer.d_out * min(layer.d_out, layer.d_in) ** 2 + 20 * layer.d_out**3 for layer in layers)
    return memory, (forward + gram + eigen + fusion) / _operations_a_second()


def _operations_a_second() -> float:
    """Time one float64 product on this machine."""
    matrix = torch.ones(_SIDE, _SIDE, dtype=torch.float64)
    matrix @ matrix
    start = time.perf_counter()
    matrix @ matrix
    return 2 * _SIDE**3 / max(time.perf_counter() - start, 1e-6)
