"""Polarized scaling: factors that make large parts of a merge larger and small parts smaller."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_power(norms: Tensor, exponent: float) -> Tensor:
    """Return (‖·‖ / mean ‖·‖)^p, the formula of the inter-task, inter-dimension and inter-layer levels.

    Args:
        norms: norms of the tasks' ΔW, of the columns of C, or of a family's merged layers, (m,) (arXiv:2602.20208).
        exponent: p >= 0; 0 switches the level off.

    Returns:
        Factors, (m,), no unit; all 1 if all norms are 0.
    """
    mean = norms.mean()
    return (norms / mean) ** exponent if mean > 0 else torch.ones_like(norms)
