"""What becomes of a file's tensors when they are one of the tower's, and the way back, exact both ways."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Form(NamedTuple):
    """A way to lie in a file.

    Attributes:
        shape: of the tower's tensor, from those of the file's; parts that do not belong together give a part's own.
        join: the file's tensors, of such shapes, to the tower's; a ValueError says why they are none.
        split: the tower's tensor, and the number of parts, to the file's; None where it cannot be.
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
    """Add the patches' bias to their positions, the class token's left out: both are added to the same sums."""
    position = parts[0][0].clone()
    if len(parts) > 1:
        patches, bias = position[1:], parts[1]
        patches.copy_(torch.where(bias == 0, patches, patches + bias))  # -0.0 + 0.0 would be another number's bits
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


PLAIN = Form(lambda shapes: shapes[0], lambda parts: parts[0], lambda tensor, _: [tensor])
STACKED = Form(_stacked, lambda parts: torch.cat(list(parts)), lambda tensor, parts: list(tensor.chunk(parts)))
"""q, k and v apart are the rows of in_proj."""
PROJECTION = Form(lambda shapes: tuple(reversed(shapes[0])), _projection, _transposed)
"""Transposed, and the bias that timm's linear map has where CLIP's has none."""
ROW = Form(_row, lambda parts: parts[0].flatten(), lambda tensor, _: [tensor[None, None]])
PATCHES = Form(_patches, _with_bias, _without_bias)
"""(1, tokens, width), and the bias of the patches where there is one, which open_clip's tower has no place for."""
IDENTITY = Form(lambda shapes: 2 * _row(shapes)[-1:], _identity, _is_identity)
"""No projection: features are as wide as the tower, which its class token tells."""
