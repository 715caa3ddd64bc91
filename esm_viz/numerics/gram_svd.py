"""Singular value decomposition by Gram matrices, which all other decompositions here use.

The eigenproblem of MᵀM has the size of the smaller side of M and takes a fraction of the time of an SVD. But squaring
loses small singular values in the rounding of large ones. So only the strong part of the spectrum (singular values of
at least 1e-3 times the largest) is taken from it. M is then applied to the other eigenvectors, and the same is done
with the resulting columns, whose entries are all small. Each such level resolves three more digits, down to NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

STRONG = 1e-6
"""Eigenvalues of a Gram matrix above STRONG times the largest are exact to 1e-10 of their own size."""
NULL = 1e-10
"""Singular values at or below NULL times the largest are rounding: an eigenvector of a Gram matrix leans towards the
strong ones by rounding over their eigenvalues, and shows singular values up to 1e-12 where there are none."""
_BLOCKS = 6  # of a symmetric product; more blocks save operations, but their products get too small to be fast
_LEAST_BLOCKED = 640


class Level(NamedTuple):
    """Right singular vectors, (n, k), orthonormal, and their singular values, (k,), within 1e-3 of each other."""

    right: Tensor
    values: Tensor


class Singular(NamedTuple):
    """M = U S Vᵀ on the non-zero singular values: left (m, k), values (k,) descending, right (n, k)."""

    left: Tensor
    values: Tensor
    right: Tensor


def singular(matrix: Tensor) -> Singular:
    """Return the compact singular value decomposition; k is the numerical rank, 0 for a zero matrix.

    Args:
        matrix: M, (m, n), float64, finite.
    """
    scale = matrix.abs().max() if matrix.numel() else matrix.new_zeros(())
    if scale == 0:
        m, n = matrix.shape
        return Singular(matrix.new_zeros(m, 0), matrix.new_zeros(0), matrix.new_zeros(n, 0))
    unit = matrix / scale  # so that squares of 1e-30 or 1e30 stay in range
    tall = unit.shape[0] >= unit.shape[1]
    thin = unit if tall else unit.mT
    levels = right_levels(gram(thin), lambda vectors: thin @ vectors)
    left = torch.cat([thin @ (level.right / level.values) for level in levels], 1)
    right = torch.cat([level.right for level in levels], 1)
    values = torch.cat([level.values for level in levels]) * scale
    return Singular(left, values, right) if tall else Singular(right, values, left)


def singular_of_product(left: Tensor, right: Tensor) -> Singular:
    """Return the compact singular value decomposition of a product of thin matrices, by that of an (r, r) matrix.

    Args:
        left: (m, r), float64, finite, r <= m.
        right: (r, n), r <= n.
    """
    if not left.shape[1]:
        return Singular(left, left.new_zeros(0), right.mT)
    outer, rows = torch.linalg.qr(left)
    inner, columns = torch.linalg.qr(right.mT)
    small = singular(rows @ columns.mT)
    return Singular(outer @ small.left, small.values, inner @ small.right)


def right_levels(product: Tensor, times: Callable[[Tensor], Tensor]) -> list[Level]:
    """Return the right singular vectors of M in levels, largest singular values first, down to its numerical rank.

    Args:
        product: MᵀM, (n, n), float64, with entries neither huge nor tiny.
        times: V -> M V; called only if the spectrum is wide.
    """
    levels: list[Level] = []
    frame: Tensor | None = None  # basis of the remaining directions, (n, k)
    floor = 0.0
    while True:
        eigenvalues, vectors = descending_eigen(product)
        largest = float(eigenvalues[0])
        floor = floor or NULL**2 * largest
        if not largest > floor:
            return levels
        count = int((eigenvalues > max(STRONG * largest, floor)).sum())
        strong = vectors[:, :count] if frame is None else frame @ vectors[:, :count]
        levels.append(Level(strong, eigenvalues[:count].sqrt()))
        if count == len(eigenvalues):
            return levels
        frame = vectors[:, count:] if frame is None else frame @ vectors[:, count:]
        small = times(frame)
        product = gram(small)


def through_polar(left: Tensor, levels: Sequence[Level]) -> Tensor:
    """Return A (MᵀM)^(−1/2), (k, n), on M's row space: polar(M) for A = M, and A = Q M gives Q polar(M).

    Args:
        left: A, (k, n).
        levels: levels of M.
    """
    total = left.new_zeros(left.shape)
    for right, values in levels:
        n, count = right.shape
        if count * (n + left.shape[0]) < n * left.shape[0]:
            total += (left @ (right / values)) @ right.mT
        else:
            root = gram((right / values.sqrt()).mT)
            total = torch.addmm(total, left, root) if len(levels) > 1 else left @ root
    return total


def gram(matrix: Tensor) -> Tensor:
    """Return MᵀM, (n, n), using its symmetry; on a GPU also for a batch of matrices."""
    n = matrix.shape[-1]
    if n < _LEAST_BLOCKED or matrix.is_cuda:
        return matrix.mT @ matrix
    product = matrix.new_empty(n, n)
    for start, end in _blocks(n):
        rows = matrix[:, start:end].mT @ matrix[:, start:]
        product[start:end, start:] = rows
        product[end:, start:end] = rows[:, end - start :].mT
    return product


def half_gram(matrix: Tensor, twice: bool = False) -> Tensor:
    """Return the entries of MᵀM in the blocks on and above the diagonal, flat, one row of blocks after the other.

    The inner product of two such products, ⟨MᵀM, NᵀN⟩, is that of half_gram(M) and half_gram(N, twice=True).

    Args:
        matrix: M, (m, n).
        twice: whether entries above the blocks of the diagonal are doubled, so that they count for those below.
    """
    n = matrix.shape[-1]
    entries = matrix.new_empty(half_bytes(n) // 8)
    begun = 0
    for start, end in _blocks(n):
        rows = entries[begun : begun + (end - start) * (n - start)].view(end - start, n - start)
        torch.mm(matrix[:, start:end].mT, matrix[:, start:], out=rows)
        if twice:
            rows[:, end - start :] *= 2
        begun += rows.numel()
    return entries


def half_bytes(n: int) -> int:
    """Return the bytes of `half_gram` of a float64 matrix of n columns."""
    return 8 * sum((end - start) * (n - start) for start, end in _blocks(n))


def _blocks(n: int) -> Iterator[tuple[int, int]]:
    """Return the first row of each block of a symmetric product, and that of the next one; small ones are one block."""
    count = _BLOCKS if n >= _LEAST_BLOCKED else 1
    return pairwise([n * at // count for at in range(count + 1)])


def descending_eigen(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, (n,), descending, and eigenvectors, (n, n), of a symmetric matrix; on a GPU also for a batch.

    On the CPU, numpy's solver is used, which is faster (see the table in `benchmarks/README.md`).
    """
    if symmetric.device.type != "cpu":
        values, vectors = torch.linalg.eigh(symmetric)
        return values.flip(-1), vectors.flip(-1)
    found = np.linalg.eigh(symmetric.numpy())
    return torch.from_numpy(found.eigenvalues[..., ::-1].copy()), torch.from_numpy(found.eigenvectors[..., ::-1].copy())
