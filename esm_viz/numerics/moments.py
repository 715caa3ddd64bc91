"""Second moments of layer inputs, summed batch by batch in float64."""

from __future__ import annotations

from torch import Tensor

from esm_viz.numerics.decompose import Moment


class MomentSum:
    """Running XᵀX and token count of one layer's input."""

    def __init__(self, d_in: int, like: Tensor) -> None:
        """Start from zero, on the device and in the dtype (float64) of `like`."""
        self._matrix = like.new_zeros(d_in, d_in)
        self._sum = like.new_zeros(d_in)
        self._tokens = 0

    def add(self, tokens: Tensor) -> None:
        """Add a batch of inputs, (..., d_in); rows are tokens, of all images alike."""
        rows = tokens.reshape(-1, tokens.shape[-1]).to(self._matrix.dtype)
        self._matrix.addmm_(rows.mT, rows)
        self._sum += rows.sum(0)
        self._tokens += len(rows)

    def moment(self) -> Moment:
        """Return what was summed."""
        return Moment(self._matrix, self._tokens, self._sum / max(self._tokens, 1))
