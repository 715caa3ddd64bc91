"""The names in a LoRA adapter's file, and where their modules are in a tower."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from esm_viz.checkpoints.layout_table import Layout, Piece
from esm_viz.checkpoints.tensor_conversion import IDENTITY, Shape

_OUTER = "base_model.model."
_PART = re.compile(r"(?P<module>.+)\.lora_(?P<part>A|B|magnitude_vector)(?:\.(?P<rest>[\w.-]+))?")
_INSIDE = re.compile(r"(?:^|(?<=\.))(?:base_layer|modules_to_save(?:\.default)?)\.")
"""Parts of names that peft adds around a module that it adapts or saves whole."""
_TEXT = re.compile(r"(?:^|\.)text")
_PACKED = ".base_layer.out_proj"  # of torch's attention, which peft adapts together with its packed input matrix
_MOST_PLACES = 16  # ways to align names that are tried


@dataclass(frozen=True)
class Adapted:
    """One adapted module of a file: the file's names of its tensors.

    Attributes:
        module: name of the module in the adapter's model, by which patterns find it.
        path: the same without what peft adds.
        down, up, lengths: the file's names of A, B and the lengths of the rows; empty if the file has none.
    """

    module: str
    path: str
    down: str = ""
    up: str = ""
    lengths: str = ""


@dataclass(frozen=True)
class FileNames:
    """What the names in an adapter's file say.

    Attributes:
        adapted: adapted modules by path.
        whole: the file's names of tensors that are saved whole, by their own names in the adapter's model.
        odd: the first name of a kind of adapter that is not known; empty without one.
        adapters: names of the adapters in the file; "" for one without a name.
    """

    adapted: dict[str, Adapted] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    odd: str = ""
    adapters: frozenset[str] = frozenset()


class Place(NamedTuple):
    """Where a tensor of the adapter's model is in the tower.

    Attributes:
        name: the tower's name of the tensor that it is, or is a part of.
        part: number of the part.
        shape: shape of the part.
    """

    name: str
    part: int
    shape: Shape


@dataclass(frozen=True)
class Alignment:
    """How an adapter's names become those of one layout.

    Attributes:
        layout: the layout whose parts the adapter's modules are.
        cut, prefix: what is taken off the adapter's names, and what is put before them.
        places: places of the layout's tensors by their names.
    """

    layout: Layout
    cut: str
    prefix: str
    places: Mapping[str, Place]

    def name(self, own: str) -> str:
        """Return the layout's name of a tensor of the adapter's model."""
        return self.prefix + own.removeprefix(self.cut) if own.startswith(self.cut) else own

    def place(self, own: str) -> Place | None:
        """Return the place of a tensor of the adapter's model; None if it is not in the tower."""
        return self.places.get(self.name(own)) if own.startswith(self.cut) else None

    def piece(self, name: str) -> Piece:
        """Return how the layout stores a tensor of the tower that has a place."""
        piece = self.layout.piece(name)
        assert piece is not None  # it has a place
        return piece


def read_names(names: Iterable[str]) -> FileNames:
    """Sort the names of a file."""
    adapted: dict[str, Adapted] = {}
    whole: dict[str, str] = {}
    odd, adapters = "", set()
    for name in names:
        inner = name.removeprefix(_OUTER)
        match = _PART.fullmatch(inner)
        if match is None and "lora" not in inner.lower():
            if ".original_module." not in f".{inner}":
                whole[_INSIDE.sub("", inner)] = name
            continue
        rest = [step for step in (match["rest"] or "").split(".") if step] if match else []
        if rest and rest[-1] == "weight":
            rest.pop()
        if match is None or len(rest) > 1 or rest == ["bias"]:
            odd = odd or name
            continue
        adapters.add(rest[0] if rest else "")
        module = match["module"]
        path = _INSIDE.sub("", f"{module}.").removesuffix(".")
        by_pattern = module.removesuffix(_PACKED) if module.endswith(_PACKED) else path
        known = adapted.get(path, Adapted(by_pattern, path))
        kind = {"A": "down", "B": "up", "magnitude_vector": "lengths"}[match["part"]]
        adapted[path] = Adapted(**{**known.__dict__, kind: name})
    return FileNames(adapted, whole, odd, frozenset(adapters))


def weights_of(path: str) -> tuple[str, ...]:
    """Return the names that the weights of an adapted module may have; torch's attention packs q, k and v."""
    return f"{path}.weight", f"{path}.in_proj_weight"


def is_text(path: str) -> bool:
    """Say whether a module belongs to a text tower, by its name."""
    return _TEXT.search(path) is not None


def places_of(layout: Layout, tower: Mapping[str, Shape]) -> dict[str, Place]:
    """Return the places of a layout's tensors in a tower, by the layout's names.

    Args:
        layout: a layout.
        tower: shapes by the tower's names.
    """
    found: dict[str, Place] = {}
    for name, shape in tower.items():
        piece = layout.piece(name)
        if piece is None or piece.form is IDENTITY:
            continue
        parts = piece.form.split(torch.empty(shape, device="meta"), len(piece.names)) or []
        found |= {
            part: Place(name, at, tuple(tensor.shape))
            for at, (part, tensor) in enumerate(zip(piece.names, parts, strict=False))
        }
    return found


def aligned(
    changes: Mapping[str, Shape], layouts: Iterable[Layout], tower: Mapping[str, Shape], base: Iterable[str]
) -> Alignment:
    """Return how the adapter's names fit a layout best: most changes of a shape that fits, then most that are there.

    Names are shortened or get a prefix, never both: that could turn one tower's names into another's.

    Args:
        changes: shapes of the changes, by the names of the weights in the adapter's model.
        layouts: layouts that the adapter's model may have.
        tower: shapes by the tower's names.
        base: names of the base file's tensors.
    """
    held = frozenset(base)
    best: tuple[tuple[int, ...], Alignment] | None = None
    for at, layout in enumerate(layouts):
        places = places_of(layout, tower)
        for cut, prefix in _ways(changes, places):
            one = Alignment(layout, cut, prefix, places)
            there = {name: place for name in changes if (place := one.place(name)) is not None}
            fits = sum(place.shape == changes[name] for name, place in there.items())
            known = sum(one.name(name) in held for name in changes)
            score = (fits, len(there), known, -len(cut) - len(prefix), -at)
            if best is None or score > best[0]:
                best = score, one
    assert best is not None  # there is a layout, and a way that leaves names as they are
    return best[1]


def _ways(names: Iterable[str], places: Mapping[str, Place]) -> Iterator[tuple[str, str]]:
    """Yield the commonest pairs of what to cut off names and what to put before them, so that they are in a layout."""
    ends: dict[str, list[str]] = {}
    for part in places:
        for start in _starts(part):
            ends.setdefault(part[len(start) :], []).append(start)
    found: Counter[tuple[str, str]] = Counter()
    for name in names:
        found.update(("", prefix) for prefix in ends.get(name, ()))
        found.update((cut, "") for cut in _starts(name) if name[len(cut) :] in places and not is_text(cut))
    yield "", ""
    yield from (way for way, _ in found.most_common(_MOST_PLACES) if way != ("", ""))


def _starts(name: str) -> Iterator[str]:
    """Yield the starts of a name that end with a dot."""
    for match in re.finditer(r"\.", name):
        yield name[: match.end()]
