"""Exact selection of the k-th largest magnitude among more numbers than fit in memory at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import reduce

import torch
from torch import Tensor

SIGN = 63  # index of a float64's sign bit
DIGIT = 16  # bits that one pass over the parts determines
ROOM = 1 << 20  # largest number of candidates held at once, 8 MB of float64


def count_of_share(share: float, entries: int) -> int:
    """Return floor(share · entries); a product that is whole up to rounding counts as whole."""
    return math.floor(share * entries * (1 + 1e-12))  # 0.29 · 100 is 28.999…


def magnitude_cutoff(parts: Callable[[], Iterable[Tensor]], entries: int, share: float) -> float:
    """Return the smallest magnitude among the largest `share` of all entries, of which at least one is selected.

    Args:
        parts: as for `kth_largest_magnitude`.
        entries: total number of entries.
        share: in (0, 1].
    """
    return kth_largest_magnitude(parts, entries, max(1, count_of_share(share, entries)))


def kth_largest_magnitude(parts: Callable[[], Iterable[Tensor]], entries: int, k: int, room: int = ROOM) -> float:
    """Return the k-th largest |x| over all parts together, exactly; equal values count separately.

    The bits of non-negative float64 numbers, read as integers, have the same order. So each pass counts the candidates
    by their next digit and keeps those with the digit of the answer. A model's weights need two or three passes.

    Args:
        parts: yields the same tensors for every pass, float64, of any shape; one is held at a time.
        entries: total number of entries.
        k: from 1, the largest, to `entries`, the smallest.
        room: largest number of candidates held at once.
    """
    prefix, shift, candidates = 0, SIGN, entries  # all share the sign 0
    while candidates > room and shift:
        width = min(DIGIT, shift)
        shift -= width
        digits = ((bits >> shift) & (2**width - 1) for bits in _with_prefix(parts(), prefix, shift + width))
        counts = reduce(torch.add, (torch.bincount(some, minlength=2**width) for some in digits))
        larger = counts.sum() - counts.cumsum(0)  # candidates whose digit is larger
        digit = int((larger >= k).sum())
        prefix, k, candidates = prefix << width | digit, k - int(larger[digit]), int(counts[digit])
    if shift:
        held = torch.cat(list(_with_prefix(parts(), prefix, shift)))
        prefix = int(held.kthvalue(len(held) - k + 1).values)
    return torch.tensor(prefix).view(torch.float64).item()


def _with_prefix(parts: Iterable[Tensor], prefix: int, shift: int) -> Iterator[Tensor]:
    """Yield the magnitudes, as integers, whose bits from `shift` up are `prefix`."""
    for part in parts:
        bits = part.flatten().abs().view(torch.int64)
        yield bits if shift == SIGN else bits[bits >> shift == prefix]
