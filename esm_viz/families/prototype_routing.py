"""Prototype routing of ESM++: at one routed layer, each image uses the adapter of the task with the nearest prototype.

An image's feature is the mean over its tokens of the layer's input x, (tokens, d_in). It is routed to task
t = argmax_t cosine(feature, p_t), and the output is x W_ESMᵀ + (x A_tᵀ) B_tᵀ (arXiv:2606.19164; METHOD, ESM++). The
result for an image does not depend on the other images of the batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Adapters(NamedTuple):
    """All tasks' adapters at one layer; a task with fewer than r directions is padded with zeros.

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
        features: (n, d_in), float64. A feature that is 0, NaN or infinite still gets a task; no other image changes.
        directions: p_t / ‖p_t‖, (T, d_in), float64; 0 for a prototype of 0, so that its cosine is 0.
    """
    # One product per task instead of one for all: so equal prototypes give exactly equal cosines.
    return torch.stack([(features * direction).sum(-1) for direction in directions], 1).argmax(1)


def add_grouped(x: Tensor, y: Tensor, adapters: Adapters, routes: Tensor) -> None:
    """Add (x A_tᵀ) B_tᵀ to y in place, with the images grouped by adapter.

    Args:
        x: (n, tokens, d_in).
        y: (n, tokens, d_out), contiguous.
        adapters: the layer's adapters.
        routes: task t of every image, (n,).
    """
    for t, count in enumerate(torch.bincount(routes, minlength=len(adapters.A)).tolist()):
        A, B = adapters.A[t].mT, adapters.B[t].mT
        if count == len(x):  # no images to gather, and addmm_ adds in place
            y.view(-1, y.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]) @ A, B)
        elif count:
            own = (routes == t).nonzero()[:, 0]
            y.index_add_(0, own, x[own] @ A @ B)


def add_gathered(x: Tensor, y: Tensor, adapters: Adapters, routes: Tensor) -> None:
    """Do the same as `add_grouped` in two batched products, with a copy of A_t and B_t for each image.

    On a GPU this is faster: grouping would need a synchronisation and many small products. On a CPU, the copies would
    take more time than the products.
    """
    y.baddbmm_(x @ adapters.A[routes].mT, adapters.B[routes].mT)


class Router(nn.Module):
    """The router of one layer: it chooses each image's adapter and adds the adapter's output.

    Attributes:
        routes: tasks chosen for the last batch, (n,), int64.
        given: the task to which all images are routed; None to route each image by its nearest prototype.
    """

    A: Tensor
    B: Tensor
    directions: Tensor

    def __init__(self, adapters: Adapters) -> None:
        """Keep one layer's adapters; adapters run in float32, cosines in float64."""
        super().__init__()
        directions = F.normalize(adapters.prototypes.double(), dim=1, eps=torch.finfo(torch.float64).tiny)
        for name, tensor in (("A", adapters.A.float()), ("B", adapters.B.float()), ("directions", directions)):
            self.register_buffer(name, tensor.contiguous())
        self.routes = torch.zeros(0, dtype=torch.int64)
        self.given: int | None = None

    def forward(self, x: Tensor, y: Tensor, rows: slice = slice(None)) -> Tensor:
        """Add the adapters of x, (n, tokens, d_in), to y = x W_ESMᵀ + b, (n, tokens, d_out), in place.

        Args:
            x: the layer's input.
            y: its output, or that of one of the matrices stacked in it; contiguous.
            rows: the rows of W_ESM that gave y.
        """
        if self.given is None:
            self.routes = nearest(x.mean(1).double(), self.directions)
        else:
            self.routes = torch.full((len(x),), self.given, device=x.device)
        add = add_gathered if x.is_cuda else add_grouped
        add(x, y, Adapters(self.A, self.B[:, rows], self.directions), self.routes)
        return y
