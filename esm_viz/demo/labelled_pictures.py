"""Data sets as they lie on disk: pictures with classes in three parts, or pictures with captions; no pickles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Labelled:
    """Pictures, (n, 32, 32, 3) bytes, and their classes, (n,)."""

    images: Bytes
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Labelled:
        return Labelled(self.images[index], self.labels[index])


@dataclass(frozen=True, slots=True)
class Task:
    """One data set: the caption of class c is `caption` with the name of c in place of {}."""

    name: str
    caption: str
    classes: tuple[str, ...]
    parts: dict[Part, Labelled]

    @property
    def captions(self) -> list[str]:
        """One caption a class."""
        return [self.caption.format(name.lower()) for name in self.classes]

    def save(self, folder: Path) -> None:
        """Write one file that `load` reads; no pickles."""
        arrays: dict[str, Any] = {f"{part}_images": data.images for part, data in self.parts.items()}
        arrays |= {f"{part}_labels": data.labels for part, data in self.parts.items()}
        about = json.dumps([self.name, self.caption, self.classes])
        np.savez(folder / f"{self.name}.npz", about=np.array(about), **arrays)

    @staticmethod
    def load(path: Path) -> Task:
        """Read what `save` wrote."""
        with np.load(path) as file:
            name, caption, classes = json.loads(str(file["about"]))
            parts = {part: Labelled(file[f"{part}_images"], file[f"{part}_labels"]) for part in PARTS}
        return Task(name, caption, tuple(classes), parts)


@dataclass(frozen=True, slots=True)
class Captioned:
    """Pictures, (n, 32, 32, 3) bytes, and a caption each."""

    images: Bytes
    captions: list[str]

    def save(self, path: Path) -> None:
        """Write one file that `load` reads; no pickles."""
        np.savez(path, images=self.images, captions=np.array(self.captions))

    @staticmethod
    def load(path: Path) -> Captioned:
        """Read what `save` wrote."""
        with np.load(path) as file:
            return Captioned(file["images"], [str(caption) for caption in file["captions"]])
