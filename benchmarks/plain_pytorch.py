"""METHOD.md the straight way, in float32 or float64: ΔO formed and decomposed by SVD, every stack by SVD, nothing kept.

This is how the released code goes about it, and what our own numbers are set beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

FLOOR = 1e-10


def ortho(matrix: Tensor) -> Tensor:
    """polar(M) · mean singular value, by SVD."""
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    return (u @ vt) * s.mean()


def merge_layer(
    deltas: Sequence[Tensor],
    inputs: Sequence[Tensor],
    rho: float = 1.0,
    gamma: float = 0.15,
    p_task: float = 2.0,
    p_dim: float = 2.0,
    gain: float = 2.0,
) -> Tensor:
    """Merge one essential layer from ΔW_t (d_out, d_in) and X_t (n, d_in)."""
    rank = int(rho * deltas[0].shape[0] / len(deltas))
    mean_norm = torch.stack([delta.norm() for delta in deltas]).mean()
    columns, rows = [], []
    for delta, tokens in zip(deltas, inputs, strict=True):
        _, s, vt = torch.linalg.svd(tokens @ delta.mT, full_matrices=False)
        basis, energy = vt[:rank].mT, s[:rank].square()
        live = energy > FLOOR * energy[0]
        weight = torch.where(live, (energy / energy.mean()) ** gamma, torch.zeros_like(energy))
        weight = weight / weight.mean()
        columns.append(basis * weight)
        rows.append((basis.mT @ delta) * weight[:, None] * (delta.norm() / mean_norm) ** p_task)
    stack = torch.cat(rows)
    norms = stack.norm(dim=0)
    return gain * ortho(torch.cat(columns, 1)) @ ortho(stack * (norms / norms.mean()) ** p_dim)


def merge_singular_vectors(deltas: Sequence[Tensor]) -> Tensor:
    """Merge one other matrix by TSV-M."""
    rank = min(deltas[0].shape) // len(deltas)
    parts = [torch.linalg.svd(delta, full_matrices=False) for delta in deltas]
    left = torch.cat([u[:, :rank] for u, _, _ in parts], 1)
    right = torch.cat([vt[:rank].mT for _, _, vt in parts], 1)
    values = torch.cat([s[:rank] for _, s, _ in parts])
    polars = [u @ vt for u, _, vt in (torch.linalg.svd(side, full_matrices=False) for side in (left, right))]
    return (polars[0] * values) @ polars[1].mT


def scale_families(
    merged: Mapping[str, Tensor], families: Mapping[str, str], p_layer: float = 2.0
) -> dict[str, Tensor]:
    """Apply the inter-layer level."""
    scaled = {}
    for name, delta in merged.items():
        norms = torch.stack([other.norm() for key, other in merged.items() if families[key] == families[name]])
        scaled[name] = delta * (delta.norm() / norms.mean()) ** p_layer
    return scaled
