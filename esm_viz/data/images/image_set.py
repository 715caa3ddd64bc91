"""The image set: images are listed first and read only when needed; a limited number of broken ones is left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from esm_viz.core.errors import ImagesError
from esm_viz.data.images.image_decoder import Unreadable
from esm_viz.data.images.image_preprocessing import Preprocessing, normalise
from esm_viz.runtime.thread_pool import cores, parallel_map

BROKEN_SHARE = 20  # one image in so many may be broken: 5 %, so none in a set of fewer than 20
MOST_BROKEN = 100  # in a set of any size; more broken images have a cause that a person should find
SHOWN = 3  # broken images named in a sentence

Decode = Callable[[], Tensor]
"""Makes an image, (3, side, side): uint8 pixels, or float32 if it was stored preprocessed; may raise Unreadable."""
Fetch = Callable[[int], Decode]
"""Index -> what decodes the image, in any thread, now that its bytes are read; raises Unreadable for a broken image."""
AT_ONCE = 8  # images a core that are read before the next ones are; their files are in memory together


class Pictures(Protocol):
    """The source of a set's images: a folder, zip, table or array."""

    def named(self, index: int) -> str:
        """Return the name of an image in its source."""
        ...

    def opened(self, how: Preprocessing) -> AbstractContextManager[Fetch]:
        """Open the source and return a function that reads one image's bytes; ascending indices are fastest.

        Raises:
            ImagesError: the source is missing or cannot be read.
        """
        ...


class ReadImages(NamedTuple):
    """The readable ones of the requested images.

    Attributes:
        stored: (k, 3, side, side); uint8 pixels, a quarter of float32, or float32 if they were stored preprocessed.
        kept: their k indices, in the requested order; k may be 0.
        how: the tower's preprocessing.
    """

    stored: Tensor
    kept: tuple[int, ...]
    how: Preprocessing

    @property
    def images(self) -> Tensor:
        """Return the images as the tower reads them, (k, 3, side, side), float32."""
        return self.on("cpu")

    def on(self, device: torch.device | str) -> Tensor:
        """Return the images as the tower reads them, float32; pixels are normalised on the device."""
        there = self.stored.to(device)
        return normalise(there, self.how) if there.dtype == torch.uint8 else there


@dataclass(frozen=True)
class ImageSet:
    """A listed set of images.

    An image is found to be broken when it is read; this does not depend on which caller reads it.

    Attributes:
        name: file or folder name, for people.
        count: images listed.
        labels: class index of each image, (count,), int64; None without labels.
        pictures: the source of the images.
        how: the tower's preprocessing.
        classes: names of the classes, by label, if class folders give them.
        notes: sentences on what lies in the source and is not in the set.
    """

    name: str
    count: int
    labels: Tensor | None
    pictures: Pictures
    how: Preprocessing
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    _broken: dict[int, Unreadable] = field(default_factory=dict, repr=False, compare=False)

    @property
    def broken(self) -> tuple[str, ...]:
        """Return the names of the images found to be broken so far."""
        return tuple(self.pictures.named(index) for index in sorted(self._broken))

    @property
    def usable(self) -> int:
        """Return the number of listed images, without those found to be broken so far."""
        return self.count - len(self._broken)

    def usable_of(self, asked: Sequence[int]) -> int:
        """Return how many of these images have not been found to be broken so far."""
        return sum(index not in self._broken for index in asked)

    @property
    def told(self) -> str:
        """Return a sentence on the images that are left out; empty if there are none."""
        return f"{self._broken_words()} and are left out" if self._broken else ""

    def remember(self, asked: Sequence[int], kept: Sequence[int]) -> None:
        """Count images as broken that an earlier read of the same files requested (`asked`) but did not keep."""
        for index in set(asked) - set(kept):
            self._broken.setdefault(index, Unreadable())

    def load(self, indices: Sequence[int]) -> Tensor:
        """Return exactly these images, preprocessed, (k, 3, side, side), float32.

        Raises:
            ImagesError: one of them is broken, or the set cannot be read.
        """
        found = self.read(indices)
        missing = [index for index in indices if index in self._broken]
        if missing:
            raise self._complaint(missing[0])
        return found.images

    def read(self, indices: Sequence[int]) -> ReadImages:
        """Return the readable ones of these images: read one after the other, decoded on all cores.

        Raises:
            ImagesError: more are broken than is allowed, or the set cannot be read.
        """
        images: list[Tensor] = []
        kept = []
        step = AT_ONCE * cores()
        with self.pictures.opened(self.how) as fetch:
            for start in range(0, len(indices), step):
                some = indices[start : start + step]
                read = [_read(fetch, index) for index in some]
                for index, found in zip(some, parallel_map(_decoded, read), strict=True):
                    if isinstance(found, Unreadable):
                        self._broken[index] = found
                        self._refuse_many()
                    else:
                        images.append(found)
                        kept.append(index)
        nothing = torch.empty(0, 3, self.how.side, self.how.side, dtype=torch.uint8)
        return ReadImages(torch.stack(images) if images else nothing, tuple(kept), self.how)

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
        return f"{len(names)} of {self.count} images cannot be read ({shown(names)})"


def shown(names: Sequence[str]) -> str:
    """Return the first few names for a sentence."""
    return f"{', '.join(names[:SHOWN])}{' …' if len(names) > SHOWN else ''}"


def _read(fetch: Fetch, index: int) -> Decode | Unreadable:
    """Read an image's bytes, or say why it cannot be used."""
    try:
        return fetch(index)
    except Unreadable as error:
        return error


def _decoded(read: Decode | Unreadable) -> Tensor | Unreadable:
    """Decode what was read, or say why the image cannot be used."""
    if isinstance(read, Unreadable):
        return read
    try:
        return read()
    except Unreadable as error:
        return error


def draw(count: int, most: int, seed: int) -> list[int]:
    """Return the indices of the images used as proxies, ascending: all, or `most` of them drawn with the seed."""
    return sorted(_order(count, most, seed)[:most])


def drawn(listed: ImageSet, most: int, seed: int) -> Tensor:
    """Return a set's proxies, (k, 3, side, side): those of `draw`, broken ones replaced by the next in random order.

    The same seed and the same files give the same images.

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
    """Return `limit` indices spread evenly over `count` images (0 = all), so that a small subset covers all classes."""
    if not limit or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]


def _order(count: int, most: int, seed: int) -> list[int]:
    """Return the images' indices in the random order of a seed."""
    if count <= most:
        return list(range(count))
    generator = torch.Generator().manual_seed(seed)
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order
