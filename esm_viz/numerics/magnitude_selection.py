"""Which entries of a change are its largest: exact selection over more numbers than fit in memory at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import reduce

import torch
from torch import Tensor

SIGN = 63  # the bit of a float64 that holds it
DIGIT = 16  # bits that one pass over the parts decides
ROOM = 1 << 20  # candidates that may be held at once, 8 MB of float64


def count_of_share(share: float, entries: int) -> int:
    """Return floor(share · entries), where a product that is whole but for rounding counts as whole."""
    return math.floor(share * entries * (1 + 1e-12))  # 0.29 · 100 is 28.999…


def magnitude_cutoff(parts: Callable[[], Iterable[Tensor]], entries: int, share: float) -> float:
    """Return the magnitude from which on entries belong to the largest `share` of all, at least one of them.

    Args:
        parts: as for `kth_largest_magnitude`.
        entries: how many numbers they hold together.
        share: in (0, 1].
    """
    return kth_largest_magnitude(parts, entries, max(1, count_of_share(share, entries)))


def kth_largest_magnitude(parts: Callable[[], Iterable[Tensor]], entries: int, k: int, room: int = ROOM) -> float:
    """Return the k-th largest |x| over all parts together, equal ones counted each, exactly.

    The bits of a non-negative float64, read as an integer, keep its order. So each pass counts the next digit of the
    candidates, and keeps those whose digit holds the answer; two or three passes do for the weights of a model.

    Args:
        parts: gives the tensors anew for every pass, float64, of any shape, the same each time; one is held at a time.
        entries: how many numbers they hold together.
        k: from 1, the largest, to `entries`, the smallest.
        room: how many candidates may be held at once.
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
