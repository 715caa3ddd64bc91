"""A change of weights as the product of two thin matrices, as LoRA trains it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_THIN = 4  # work on factors is cheaper than on the whole matrix up to this part of its smaller side


class FactoredChange(NamedTuple):
    """ΔW = left · right, with ΔW's shape after its rows and columns are laid out as `shape`.

    Attributes:
        left: (rows, r), float64.
        right: (r, columns), float64.
        shape: shape of ΔW, whose first side is rows; a convolution has several sides for its columns.
    """

    left: Tensor
    right: Tensor
    shape: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Return r; 0 if nothing changed."""
        return self.right.shape[0]

    def dense(self) -> Tensor:
        """Return ΔW, float64."""
        if not self.rank:
            return self.left.new_zeros(self.shape)
        return (self.left @ self.right).view(self.shape)

    def to(self, device: str) -> FactoredChange:
        """Return it on a device."""
        return FactoredChange(self.left.to(device), self.right.to(device), self.shape)


def no_change(shape: tuple[int, ...]) -> FactoredChange:
    """Return the change of a parameter that stays as it is."""
    rows = shape[0] if shape else 1
    columns = torch.Size(shape[1:]).numel()
    left, right = torch.zeros(rows, 0, dtype=torch.float64), torch.zeros(0, columns, dtype=torch.float64)
    return FactoredChange(left, right, shape)


def is_thin(rank: int, shape: tuple[int, ...]) -> bool:
    """Say whether work on the factors of a (d_out, d_in) matrix is much cheaper than on the matrix itself."""
    return len(shape) == 2 and _THIN * rank <= min(shape)
