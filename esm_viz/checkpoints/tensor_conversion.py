"""Exact conversions between a file's tensors and a tower's tensors, in both directions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Conversion(NamedTuple):
    """How one of the tower's tensors is stored as one or more tensors of a file.

    Attributes:
        shape: shapes of the file's tensors -> shape of the tower's; the first part's shape if they do not fit together.
        join: the file's tensors -> the tower's tensor; raises ValueError with the reason if that is not possible.
        split: (the tower's tensor, number of parts) -> the file's tensors; None if that is not possible.
    """

    shape: Callable[[Sequence[Shape]], Shape]
    join: Callable[[Sequence[Tensor]], Tensor]
    split: Callable[[Tensor, int], list[Tensor] | None]


def _stacked(shapes: Sequence[Shape]) -> Shape:
    first = shapes[0]
    return (len(shapes) * first[0], *first[1:]) if first and set(shapes) == {first} else first


def _row(shapes: Sequence[Shape]) -> Shape:
    shape = shapes[0]
    return shape[-1:] if shape and math.prod(shape[:-1]) == 1 else shape


def _patches(shapes: Sequence[Shape]) -> Shape:
    position = shapes[0]
    if len(position) != 3 or position[0] != 1:
        return position
    return shapes[1] if len(shapes) > 1 and shapes[1] != position[2:] else position[1:]


def _with_bias(parts: Sequence[Tensor]) -> Tensor:
    """Add the patches' bias to the positions of the patches, not of the class token, which gives the same sums."""
    position = parts[0][0].clone()
    if len(parts) > 1:
        patches, bias = position[1:], parts[1]
        patches.copy_(torch.where(bias == 0, patches, patches + bias))  # -0.0 + 0.0 would be 0.0
    return position


def _without_bias(position: Tensor, parts: int) -> list[Tensor]:
    return [position[None], position.new_zeros(position.shape[-1])][:parts]


def _projection(parts: Sequence[Tensor]) -> Tensor:
    if len(parts) > 1 and parts[1].any():
        raise ValueError("its projection has a bias, which CLIP's has not")
    return parts[0].mT.contiguous()


def _transposed(projection: Tensor, parts: int) -> list[Tensor]:
    return [projection.mT, projection.new_zeros(projection.shape[-1])][:parts]


def _identity(parts: Sequence[Tensor]) -> Tensor:
    return torch.eye(parts[0].numel(), dtype=parts[0].dtype)


def _is_identity(projection: Tensor, _parts: int) -> list[Tensor] | None:
    side = len(projection)
    same = projection.shape == (side, side) and torch.equal(projection.cpu(), torch.eye(side, dtype=projection.dtype))
    return [] if same else None


PLAIN = Conversion(lambda shapes: shapes[0], lambda parts: parts[0], lambda tensor, _: [tensor])
STACKED = Conversion(_stacked, lambda parts: torch.cat(list(parts)), lambda tensor, parts: list(tensor.chunk(parts)))
"""Separate q, k and v, which are rows of in_proj."""
PROJECTION = Conversion(lambda shapes: tuple(reversed(shapes[0])), _projection, _transposed)
"""A transposed projection, possibly with the bias of timm's linear layer, which CLIP does not have."""
ROW = Conversion(_row, lambda parts: parts[0].flatten(), lambda tensor, _: [tensor[None, None]])
PATCHES = Conversion(_patches, _with_bias, _without_bias)
"""Positions of shape (1, tokens, width), possibly with the patches' bias, which open_clip's tower does not have."""
IDENTITY = Conversion(lambda shapes: 2 * _row(shapes)[-1:], _identity, _is_identity)
"""No projection: the features have the tower's width, which is the length of its class token."""


def matrix_of_patches(shape: Shape) -> Conversion:
    """Return the conversion of a convolution's weight, (d_out, channels, k, k), to the matrix (d_out, channels k k)."""

    def flat(shapes: Sequence[Shape]) -> Shape:
        return (shapes[0][0], math.prod(shapes[0][1:])) if shapes[0] else shapes[0]

    return Conversion(flat, lambda parts: parts[0].flatten(1), lambda tensor, _: [tensor.unflatten(1, shape[1:])])
