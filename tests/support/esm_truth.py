"""ESM by the book in float64: dense shifts, LAPACK's SVDs, and what is at rounding level has weight 0."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from esm_viz.numerics.gram_svd import NULL

FLOOR = 1e-10


def ortho(matrix: Tensor, count: int) -> Tensor:
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    live = s > NULL * s[0]
    return (u[:, live] @ vt[live]) * (s.sum() / count)


def truth(deltas: Sequence[Tensor], inputs: Sequence[Tensor], rho: float = 1.0) -> Tensor:
    """Follow METHOD with the defaults γ = 0.15, p_task = p_dim = gain = 2."""
    d_out, d_in = deltas[0].shape
    r = int(rho * d_out / len(deltas))
    norms = torch.stack([delta.norm() for delta in deltas])
    factors = (norms / norms.mean()) ** 2 if norms.mean() > 0 else torch.ones_like(norms)
    columns, rows = [], []
    for delta, x, factor in zip(deltas, inputs, factors, strict=True):
        _, s, vt = torch.linalg.svd(x @ delta.mT, full_matrices=False)
        energy = torch.zeros(r, dtype=torch.float64)
        energy[: min(r, len(s))] = s[:r].square()
        live = energy > FLOOR * energy[0]
        w = torch.where(live, energy, 1.0).div(energy.mean() if live.any() else 1.0) ** 0.15 * live
        w = w * (r / w.sum()) if live.any() else w
        k = int(live.sum())
        columns.append(vt[:k].mT * w[:k])
        rows.append((vt[:k] @ delta) * w[:k, None] * factor)
    C = torch.cat(rows)
    lengths = C.norm(dim=0)
    powers = (lengths / lengths.mean()) ** 2 if lengths.mean() > 0 else torch.ones_like(lengths)
    if not len(C):
        return torch.zeros(d_out, d_in, dtype=torch.float64)
    whole = r * len(deltas)
    return 2 * ortho(torch.cat(columns, 1), min(d_out, whole)) @ ortho(C * powers, min(whole, d_in))
