"""A listed set of images: read when asked for, broken ones counted, named and left out up to a limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from esm_viz.core.errors import ImagesError
from esm_viz.data.images.image_decoder import Unreadable
from esm_viz.data.images.image_preprocessing import Preprocessing

BROKEN_SHARE = 20  # one image in so many may be broken: 5 %, so none in a set of fewer than 20
MOST_BROKEN = 100  # in a set of any size; more have a cause that somebody should look for
SHOWN = 3  # broken images named in a sentence

Fetch = Callable[[int], Tensor]
"""Index -> what the tower reads, (3, side, side), float32; raises Unreadable for an image that is broken."""


class Pictures(Protocol):
    """Where the images of a set come from."""

    def named(self, index: int) -> str:
        """Return what an image is called there."""
        ...

    def opened(self, how: Preprocessing) -> AbstractContextManager[Fetch]:
        """Open what holds them, so that images can be fetched one by one; ascending indices are quickest.

        Raises:
            ImagesError: it is not there any more, or cannot be read.
        """
        ...


class ReadImages(NamedTuple):
    """What could be read of the images asked for.

    Attributes:
        images: (k, 3, side, side), float32; k may be 0.
        kept: their indices, k of them, in the order asked for.
    """

    images: Tensor
    kept: tuple[int, ...]


@dataclass(frozen=True)
class ImageSet:
    """A listed set of images.

    Which of them are broken is known once they were read, and is the same whoever reads them.

    Attributes:
        name: file or folder name, for people.
        count: images listed.
        labels: class index of each, (count,), int64; None where unlabelled.
        pictures: where they come from.
        how: what becomes of an image before the tower reads it.
        classes: names that the labels count, where class folders give them.
    """

    name: str
    count: int
    labels: Tensor | None
    pictures: Pictures
    how: Preprocessing
    classes: tuple[str, ...] = ()
    _broken: dict[int, Unreadable] = field(default_factory=dict, repr=False, compare=False)

    @property
    def broken(self) -> tuple[str, ...]:
        """Return the names of the images that were found to be broken so far."""
        return tuple(self.pictures.named(index) for index in sorted(self._broken))

    @property
    def usable(self) -> int:
        """Return how many images are listed without those that were found to be broken."""
        return self.count - len(self._broken)

    def usable_of(self, asked: Sequence[int]) -> int:
        """Return how many of these images are there without those that were found to be broken."""
        return sum(index not in self._broken for index in asked)

    @property
    def told(self) -> str:
        """Return which images are left out, as a sentence; empty where none is."""
        return f"{self._broken_words()} and are left out" if self._broken else ""

    def remember(self, asked: Sequence[int], kept: Sequence[int]) -> None:
        """Count as broken what somebody else found to be, of the same files: all that was asked for and not kept."""
        for index in set(asked) - set(kept):
            self._broken.setdefault(index, Unreadable())

    def load(self, indices: Sequence[int]) -> Tensor:
        """Return these images and no fewer, preprocessed, (k, 3, side, side), float32.

        Raises:
            ImagesError: one of them is broken, or the set cannot be read.
        """
        found = self.read(indices)
        missing = [index for index in indices if index in self._broken]
        if missing:
            raise self._complaint(missing[0])
        return found.images

    def read(self, indices: Sequence[int]) -> ReadImages:
        """Return those of these images that can be read.

        Raises:
            ImagesError: more are broken than is allowed, or the set cannot be read.
        """
        images: list[Tensor] = []
        kept = []
        with self.pictures.opened(self.how) as fetch:
            for index in indices:
                try:
                    images.append(fetch(index))
                    kept.append(index)
                except Unreadable as error:
                    self._broken[index] = error
                    self._refuse_many()
        nothing = torch.empty(0, 3, self.how.side, self.how.side)
        return ReadImages(torch.stack(images) if images else nothing, tuple(kept))

    def _refuse_many(self) -> None:
        if len(self._broken) == 1 and self.count < BROKEN_SHARE:
            raise self._complaint(next(iter(self._broken)))
        if len(self._broken) > min(self.count // BROKEN_SHARE, MOST_BROKEN):
            share = f"more than {100 // BROKEN_SHARE} %" if len(self._broken) <= MOST_BROKEN else "too many"
            raise ImagesError(f"{self._broken_words()}, {share}", "remove or replace them", self.name)

    def _complaint(self, index: int) -> ImagesError:
        error = self._broken[index]
        return ImagesError(f"{self.pictures.named(index)} {error.reason}", error.remedy, self.name)

    def _broken_words(self) -> str:
        names = self.broken
        more = " …" if len(names) > SHOWN else ""
        return f"{len(names)} of {self.count} images cannot be read ({', '.join(names[:SHOWN])}{more})"


def draw(count: int, most: int, seed: int) -> list[int]:
    """Return which of `count` images serve as proxies: all, or `most` drawn by the recipe's seed, ascending."""
    return sorted(_order(count, most, seed)[:most])


def drawn(listed: ImageSet, most: int, seed: int) -> Tensor:
    """Return a set's proxies, (k, 3, side, side): those that `draw` names, broken ones replaced by the next drawn.

    The same seed gives the same images, since it is decided by their bytes which ones are broken.

    Raises:
        ImagesError: too many are broken, or the set cannot be read.
    """
    order = _order(listed.count, most, seed)
    images: dict[int, Tensor] = {}
    taken = 0
    while len(images) < most and taken < listed.count:
        wanted = sorted(order[taken : taken + most - len(images)])
        found = listed.read(wanted)
        images.update(zip(found.kept, found.images, strict=True))
        taken += len(wanted)
    return torch.stack([images[index] for index in sorted(images)])


def evenly_spaced(count: int, limit: int) -> list[int]:
    """Return `limit` indices spread evenly over `count` images (0 = all), so that a quick subset sees every class."""
    if not limit or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]


def _order(count: int, most: int, seed: int) -> list[int]:
    """Return the images in the order in which a seed takes them."""
    if count <= most:
        return list(range(count))
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order
