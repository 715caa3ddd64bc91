"""Second moments of layer inputs: M = XᵀX in float64, or X itself if that saves work."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from esm_viz.core.errors import NumericsError
from esm_viz.numerics.gram_svd import descending_eigen, half_gram


class Moment(NamedTuple):
    """Second moment M = XᵀX, (d_in, d_in), of a layer's input X over n tokens.

    Attributes:
        square: M, float64; None if X is kept instead.
        tokens: n.
        mean: mean of the tokens, (d_in,), float64.
        rows: X, (n, d_in), as the forward pass gave it; None if M is kept instead.
    """

    square: Tensor | None
    tokens: int
    mean: Tensor
    rows: Tensor | None = None

    @property
    def matrix(self) -> Tensor:
        """Return M, (d_in, d_in), float64."""
        return self.square if self.square is not None else _wide(self).mT @ _wide(self)

    @property
    def divisor(self) -> int:
        """Return the divisor of covariances: n − 1, or 1 for a single token."""
        return max(self.tokens - 1, 1)

    def factor(self) -> Tensor:
        """Return F, (m, d_in), float64, with FᵀF = M: X itself, or an upper triangular matrix if M is regular.

        Raises:
            NumericsError: M holds a NaN or Inf.
        """
        whole = _wide(self) if self.square is None else self.square
        scale = whole.abs().max() if whole.numel() else whole.new_zeros(())
        if not torch.isfinite(scale):
            raise NumericsError("the second moment of this layer is not finite", "check the proxies and the checkpoint")
        if self.square is None or scale == 0:
            return whole
        triangle, failed = torch.linalg.cholesky_ex(whole / scale)
        if not failed:
            return triangle.mT * scale.sqrt()
        values, vectors = descending_eigen(whole / scale)  # M is singular: few images, or equal tokens
        return (vectors * (values.clamp_min(0) * scale).sqrt()).mT

    def times(self, left: Tensor) -> Tensor:
        """Return A M, (k, d_in), for A (k, d_in)."""
        if self.square is not None:
            return left @ self.square
        rows = _wide(self)
        return (left @ rows.mT) @ rows

    def seen(self, left: Tensor) -> Tensor:
        """Return A Xᵀ, (k, n), of a moment that keeps X."""
        return left @ _wide(self).mT

    def energies(self, left: Tensor) -> Tensor:
        """Return ‖X aᵀ‖² of every row a of A, (k,), which is the diagonal of A M Aᵀ."""
        if self.square is None:
            return (left @ _wide(self).mT).square().sum(1)
        return ((left @ self.square) * left).sum(1)


class HalfMoment(NamedTuple):
    """Second moment M of which only inner products with other symmetric matrices are needed.

    Attributes:
        entries: `half_gram` of the layer's input X, with twice what is above the blocks of the diagonal, float64.
    """

    entries: Tensor


def half_moment(moment: Moment) -> HalfMoment:
    """Return M of a moment that keeps X, (n, d_in), at n d_in² multiplications and a little over 4 d_in² bytes."""
    return HalfMoment(half_gram(_wide(moment), twice=True))


def _wide(moment: Moment) -> Tensor:
    assert moment.rows is not None  # a moment has one of the two
    return moment.rows.double()


_LARGE = 2048


class MomentSum:
    """Running XᵀX and token count of one layer's input; X itself is kept instead if that saves work.

    X is kept as long as it has fewer rows than columns. At a large layer with fewer outputs than inputs, and where ΔW
    is a product of thin matrices, it is kept up to 2.5 d_in tokens: X ΔWᵀ is much faster than XᵀX there, and X in
    float32 is hardly larger than M in float64.
    """

    def __init__(self, d_in: int, d_out: int = 0, device: str = "cpu", thin: bool = False) -> None:
        """Start with no tokens; without d_out, the layer is treated as one with no fewer outputs than inputs."""
        narrowing = 0 < d_out < d_in and d_in >= _LARGE
        self._most_rows = 5 * d_in // 2 if thin or narrowing else d_in - 1
        self._d_in, self._device = d_in, device
        self._rows: list[Tensor] = []
        self._square: Tensor | None = None
        self._sum = torch.zeros(d_in, dtype=torch.float64, device=device)
        self._tokens = 0

    def add(self, tokens: Tensor) -> None:
        """Add a batch of inputs, (..., d_in), whose rows are tokens."""
        rows = tokens.reshape(-1, self._d_in)
        self._sum += rows.sum(0, dtype=torch.float64)
        self._tokens += len(rows)
        self._rows.append(rows)
        if self._tokens > self._most_rows:
            wide = torch.cat(self._rows).double()
            self._square = wide.mT @ wide if self._square is None else self._square.addmm_(wide.mT, wide)
            self._rows = []

    def moment(self) -> Moment:
        """Return the second moment of all added tokens."""
        mean = self._sum / max(self._tokens, 1)
        if self._square is not None:
            return Moment(self._square, self._tokens, mean)
        rows = torch.cat(self._rows) if self._rows else self._sum.new_zeros(0, self._d_in)
        return Moment(None, self._tokens, mean, rows.clone() if len(self._rows) == 1 else rows)
