"""Several ways to a polar factor, against each other, on the stacks that ESM makes: `python -m benchmarks polar`.

The stack is [E_1 … E_8] of random subspaces with weights as γ = 0.15 gives them: square, ill-conditioned as real ones.
Errors are relative, against a float64 SVD.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from esm_viz.numerics.polar_factor import polar

TASKS = 8
SIDES = (384, 768, 2304, 3072)
QUICK_SIDES = (384, 768)


def main(rounds: int, quick: bool) -> None:
    """Print seconds and error of each way at each size."""
    print(f"{torch.get_num_threads()} threads, median of {rounds}")
    print(f"{'side':>5}  {'way':<44}{'seconds':>9}{'error':>10}")
    for side in QUICK_SIDES if quick else SIDES:
        stack = _stack(side)
        truth = _by_svd(stack)
        for name, way in WAYS.items():
            times = []
            for _ in range(rounds):
                start = time.perf_counter()
                found = way(stack)
                times.append(time.perf_counter() - start)
            error = float((found.double() - truth).norm() / truth.norm())
            print(f"{side:>5}  {name:<44}{statistics.median(times):>9.3f}{error:>10.0e}", flush=True)


def _stack(side: int) -> Tensor:
    draw = torch.Generator().manual_seed(side)
    rank = side // TASKS
    weights = torch.arange(1, rank + 1, dtype=torch.float64) ** -0.2
    parts = [
        torch.linalg.qr(torch.randn(side, rank, generator=draw, dtype=torch.float64))[0] * weights / weights.mean()
        for _ in range(TASKS)
    ]
    return torch.cat(parts, 1)


def _by_svd(matrix: Tensor) -> Tensor:
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    return u @ vt


def _by_gram(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix.mT @ matrix)
    return matrix @ ((vectors / values.clamp_min(torch.finfo(values.dtype).tiny).sqrt()) @ vectors.mT)


def _by_gram_numpy(matrix: Tensor) -> Tensor:
    found = np.linalg.eigh((matrix.mT @ matrix).numpy())
    values, vectors = torch.from_numpy(found.eigenvalues), torch.from_numpy(found.eigenvectors)
    return matrix @ ((vectors / values.clamp_min(torch.finfo(values.dtype).tiny).sqrt()) @ vectors.mT)


def _by_newton(matrix: Tensor) -> Tensor:
    """Scaled Newton, X ← (ζX + (ζX)⁻ᵀ) / 2 (N. J. Higham 1986)."""
    x = matrix
    for _ in range(20):
        inverse = torch.linalg.inv(x).mT
        scale = (inverse.norm() / x.norm()).sqrt()
        after = (scale * x + inverse / scale) / 2
        if (after - x).norm() < 10 * torch.finfo(x.dtype).eps * x.norm():
            return after
        x = after
    return x


def _by_newton_schulz(matrix: Tensor) -> Tensor:
    """The cubic iteration with products alone, X ← X (3 − XᵀX) / 2, until it stands still."""
    x = matrix / torch.linalg.matrix_norm(matrix, 2)
    for _ in range(60):
        after = 1.5 * x - 0.5 * x @ (x.mT @ x)
        if (after - x).norm() < 10 * torch.finfo(x.dtype).eps * x.norm():
            return after
        x = after
    return x


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "SVD, float32": lambda m: _by_svd(m.float()),
    "SVD, float64 (the truth)": _by_svd,
    "Gram + eigh, float32": lambda m: _by_gram(m.float()),
    "Gram + torch's eigh, float64": _by_gram,
    "Gram + numpy's eigh, float64": _by_gram_numpy,
    "scaled Newton, float32": lambda m: _by_newton(m.float()),
    "scaled Newton, float64": _by_newton,
    "Newton-Schulz, float32": lambda m: _by_newton_schulz(m.float()),
    "ours: Gram in levels, symmetric products": lambda m: polar(m).factor,
}
