"""TSV-M: the leading singular triplets of every task, made orthogonal to each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from esm_viz.merge.averaging import mean_delta
from esm_viz.merge.method_registry import LayerUpdate, Memo, Preset, merge_method, run_now
from esm_viz.numerics.gram_svd import NULL, singular, singular_of_product
from esm_viz.numerics.polar_factor import polar


@merge_method(
    "tsv_m",
    title="TSV-M",
    source="arXiv:2412.00081",
    formula="{ΔW = polar([U<sub>1</sub> … U<sub>T</sub>]) Σ} {polar([V<sub>1</sub> … V<sub>T</sub>])<sup>⊤</sup>} "
    "of each task's first {⌊min(d<sub>out</sub>, d<sub>in</sub>) / T⌋} triplets.",
    presets=[Preset("singular vectors made orthogonal, α 1", {"alpha": 1.0})],
)
def tsv_m(updates: Sequence[LayerUpdate], memo: Memo = run_now) -> Tensor:
    """ΔW = polar([U_1 … U_T]) Σ polar([V_1 … V_T])ᵀ of each task's first floor(min(d_out, d_in) / T) triplets."""
    return memo("product", (), lambda: merge_singular_vectors(updates))


def merge_singular_vectors(updates: Sequence[LayerUpdate]) -> Tensor:
    """Merge one matrix by TSV-M; return the mean if there are more tasks than min(d_out, d_in).

    Args:
        updates: the tasks' changes of one matrix, (d_out, d_in).
    """
    rank = min(updates[0].d_out, updates[0].d_in) // len(updates)
    if rank == 0:
        return mean_delta(updates)
    lefts, values, rights = zip(*(_triplets(update, rank) for update in updates), strict=True)
    left, right = polar(torch.cat(lefts, 1)).factor, polar(torch.cat(rights, 1)).factor
    return (left * torch.cat(values)) @ right.mT


def _triplets(update: LayerUpdate, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, S, V of a task's first r triplets, by the factors of its change if it has thin ones."""
    factors = update.factors
    if factors is None:
        return leading_triplets(update.delta, rank)
    u, s, v = singular_of_product(factors.left, factors.right)
    return u[:, :rank], s[:rank], v[:, :rank]


def leading_triplets(matrix: Tensor, rank: int, size: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return U (d_out, k), S (k,), V (d_in, k) of the first r triplets with singular values above rounding, k <= r.

    Args:
        matrix: (d_out, d_in), float64.
        rank: r, from 0 to min(d_out, d_in).
        size: norm that sets the rounding level: that of the terms if the matrix is a sum or difference; default σ_1.
    """
    u, s, v = singular(matrix)
    if size is not None:
        rank = min(rank, int((s > NULL * size).sum()))
    return u[:, :rank], s[:rank], v[:, :rank]
