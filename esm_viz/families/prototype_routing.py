"""Prototype routing of ESM++: at one routed layer, each image takes the adapter of the task whose prototype is nearest.

An image's feature is the mean over its own tokens of the layer's input x, (tokens, d_in). The adapter is
argmax_t cosine(feature, p_t), and the output x W_ESMᵀ + (x A_tᵀ) B_tᵀ (arXiv:2606.19164; METHOD, ESM++). Nothing in
this depends on the other images of the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Adapters(NamedTuple):
    """All tasks' adapters at one layer; a task with fewer than r live directions is filled up with zeros.

    Attributes:
        A: A_t, (T, r, d_in).
        B: B_t, (T, d_out, r).
        prototypes: p_t, (T, d_in).
    """

    A: Tensor
    B: Tensor
    prototypes: Tensor


def nearest(features: Tensor, directions: Tensor) -> Tensor:
    """Return argmax_t cosine(feature, p_t), (n,), int64; the first of equal tasks.

    Args:
        features: (n, d_in), float64. All zero, NaN or infinite they still get an adapter, and only they are affected.
        directions: p_t / ‖p_t‖, (T, d_in), float64; zero for a prototype of zero, whose cosine then counts as 0.
    """
    # A task at a time instead of one product: equal prototypes then give equal bits, wherever they stand.
    return torch.stack([(features * direction).sum(-1) for direction in directions], 1).argmax(1)


def add_grouped(x: Tensor, y: Tensor, adapters: Adapters, routes: Tensor) -> None:
    """Add (x A_tᵀ) B_tᵀ to y in place, the images of one adapter together.

    Args:
        x: (n, tokens, d_in).
        y: (n, tokens, d_out), contiguous.
        adapters: of the layer.
        routes: t of every image, (n,).
    """
    for t, count in enumerate(torch.bincount(routes, minlength=len(adapters.A)).tolist()):
        A, B = adapters.A[t].mT, adapters.B[t].mT
        if count == len(x):  # nothing to gather, and the sum goes into the second product
            y.view(-1, y.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]) @ A, B)
        elif count:
            own = (routes == t).nonzero()[:, 0]
            y.index_add_(0, own, x[own] @ A @ B)


def add_gathered(x: Tensor, y: Tensor, adapters: Adapters, routes: Tensor) -> None:
    """Do what `add_grouped` does in two batched products, each image beside its own A_t and B_t.

    A processor spends more on the copies than on the sums; a device that would have to tell how many images chose
    which adapter, and be sent many small products, does not.
    """
    y.baddbmm_(x @ adapters.A[routes].mT, adapters.B[routes].mT)


class Router(nn.Module):
    """One routed layer: finds every image's adapter and adds what it gives.

    Attributes:
        routes: of the last batch, (n,), int64.
        given: the adapter that all images get, whatever they resemble; None where they choose.
    """

    A: Tensor
    B: Tensor
    directions: Tensor

    def __init__(self, adapters: Adapters) -> None:
        """Take one layer's adapters; they run in float32, and cosines in float64."""
        super().__init__()
        directions = F.normalize(adapters.prototypes.double(), dim=1, eps=torch.finfo(torch.float64).tiny)
        for name, tensor in (("A", adapters.A.float()), ("B", adapters.B.float()), ("directions", directions)):
            self.register_buffer(name, tensor.contiguous())
        self.routes = torch.zeros(0, dtype=torch.int64)
        self.given: int | None = None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the adapters of x, (n, tokens, d_in), to y = x W_ESMᵀ + b, (n, tokens, d_out), in place."""
        if self.given is None:
            self.routes = nearest(x.mean(1).double(), self.directions)
        else:
            self.routes = torch.full((len(x),), self.given, device=x.device)
        add = add_gathered if x.is_cuda else add_grouped
        add(x, y, Adapters(self.A, self.B, self.directions), self.routes)
        return y
