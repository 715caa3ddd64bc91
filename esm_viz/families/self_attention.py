"""Self-attention of open_clip's towers, with its two projections as modules, so that hooks see their inputs.

`nn.MultiheadAttention` passes its projections' weights to a fused function, so no hook sees these layers. This
replacement has the same parameter names and gives the same result, but `in_proj` and `out_proj` are modules.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Projection(nn.Module):
    """x Wᵀ + b, with W and b owned by another module; hooks see the input and the output."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return (…, d_out) for x (…, d_in)."""
        return F.linear(x, weight, bias)


class SelfAttention(nn.Module):
    """Multi-head self-attention over (batch, tokens, width), with the parameter names of `nn.MultiheadAttention`."""

    def __init__(self, original: nn.MultiheadAttention) -> None:
        """Take over a batch-first attention's parameters."""
        super().__init__()
        if not original.batch_first or original.in_proj_weight is None:
            raise ValueError("expected a batch-first attention with fused projections")
        self.heads = original.num_heads
        self.in_proj_weight = original.in_proj_weight
        self.in_proj_bias = original.in_proj_bias
        self.in_proj = Projection()
        self.out_proj = original.out_proj

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """Return the attention's output; key and value must be the query, as in open_clip's calls."""
        batch, tokens, width = query.shape
        fused = self.in_proj(query, self.in_proj_weight, self.in_proj_bias)
        q, k, v = fused.view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, width)), None
