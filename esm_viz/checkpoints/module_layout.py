"""The layout of a file whose tensors are those of a library's module, under the library's names after some prefix.

`layout_table.py` has the layouts of CLIP's tower, in which one tower is stored in several ways. Every other network is
stored as its library names it, or as its library writes it where the two differ, possibly inside a wrapper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from esm_viz.checkpoints.layout_table import Layout, Piece
from esm_viz.checkpoints.tensor_conversion import Shape


@dataclass(frozen=True, slots=True)
class ModuleLayout(Layout):
    """A file with the tensors of a library's module.

    Attributes:
        pieces: how each merged tensor is stored, by its name in the tower; names are the file's.
        blocks: starts of the tower's names of each block's tensors.
        twins: other prefixes under which the file has the same tensors, which are not read.
        within: starts of the file's names of the tensors of the blocks, in which an unknown name is another network's.
    """

    pieces: Mapping[str, Piece] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()

    @property
    def of_clip(self) -> bool:
        """Say whether it is a layout of CLIP's tower."""
        return False

    @property
    def wanted(self) -> str:
        """Return what a file of this layout should hold, for error messages."""
        return f"a {self.title}"

    def piece(self, name: str) -> Piece | None:
        """Return how one of the tower's tensors is stored in the file."""
        return self.pieces.get(name)

    def in_block(self, name: str) -> bool:
        """Say whether one of the tower's tensors belongs to a repeated block."""
        return name.startswith(self.blocks)

    def in_tower(self, name: str) -> str | None:
        """Return the tower's name of the tensor that a file's tensor is part of; None for tensors outside the tower.

        An unknown floating-point tensor of a block is returned as it is: a network with it is another one.
        """
        found = next((inner for inner, piece in self.pieces.items() if name in piece.names), None)
        if found is not None or not name.startswith(self.within):
            return found
        return None if name.rpartition(".")[2] in _NO_WEIGHTS else name

    def beside(self, name: str) -> bool:
        """Say whether a file's tensor is kept as the base has it."""
        return not any(name in piece.names for piece in self.pieces.values())

    def fitted(self, shapes: Mapping[str, Shape], projection: Shape) -> Layout:
        """Return this layout, which was made for one network."""
        return self


_NO_WEIGHTS = ("num_batches_tracked", "relative_position_index", "attn_mask", "position_ids")
"""Ends of the names of buffers that libraries write or leave out as they like."""


@dataclass(frozen=True)
class ModuleNames:
    """The tensors of a library's module, from which the layout of a file is found.

    Attributes:
        library, title: names of the library and of the network.
        pieces: how each merged tensor is stored, by the tower's name, with the module's names.
        shapes: shapes by the module's names.
        blocks: names of the module's blocks.
        written: the names in the library's own files, by the module's, where they differ.
    """

    library: str
    title: str
    pieces: Mapping[str, Piece]
    shapes: Mapping[str, Shape]
    blocks: tuple[str, ...]
    written: Mapping[str, str]

    def own(self) -> ModuleLayout:
        """Return the layout of the module itself."""
        return self._layout({name: name for name in self.shapes}, "")

    def layout_of(self, shapes: Mapping[str, Shape]) -> Layout:
        """Return the layout of a file with these tensors: the names under which most of the module's are found.

        Args:
            shapes: shapes by the file's names.
        """
        own = {name: name for name in self.shapes}
        found: dict[str, tuple[int, Mapping[str, str]]] = {"": (0, own)}
        for known in (own, {name: self.written.get(name, name) for name in self.shapes}):
            for cut, prefix in self._prefixes(known, shapes):
                names = {name: prefix + whole.removeprefix(cut) for name, whole in known.items()}
                count = sum(shapes.get(its) == self.shapes[name] for name, its in names.items())
                found[prefix] = max(found.get(prefix, (-1, own)), (count, names), key=lambda each: each[0])
        best = max(found, key=lambda prefix: (found[prefix][0], -len(prefix)))
        count, best_names = found[best]
        twins = tuple(sorted(prefix for prefix in found if prefix != best and found[prefix][0] == count > 0))
        return dataclasses.replace(self._layout(best_names, best), twins=twins)

    def _prefixes(self, known: Mapping[str, str], shapes: Mapping[str, Shape]) -> set[tuple[str, str]]:
        """Return what to cut off the module's names and what to put before them, so that a block's tensor is found."""
        inside = next(name for name in self.pieces if name.startswith(f"{self.blocks[0]}."))
        anchor = known[self.pieces[inside].names[0]]
        steps = anchor.split(".")
        found = set()
        for count in range(len(steps)):
            end = ".".join(steps[count:])
            cut = ".".join(steps[:count]) + "." if count else ""
            found |= {(cut, name.removesuffix(end)) for name in shapes if name == end or name.endswith(f".{end}")}
            if found or steps[count].isdecimal():
                break
        return found

    def _layout(self, names: Mapping[str, str], prefix: str) -> ModuleLayout:
        starts = _dotted(self.blocks)
        places = {names[part].rpartition(".")[0] + "." for part in self.shapes if part.startswith(starts)}
        return ModuleLayout(
            name=self.library,
            title=f"{self.library} {self.title}",
            prefix=prefix,
            pieces={
                name: piece._replace(names=tuple(names[part] for part in piece.names))
                for name, piece in self.pieces.items()
            },
            blocks=starts,
            within=tuple(sorted(_lists(places))),
        )


def _dotted(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}." for name in names)


def _lists(places: set[str]) -> set[str]:
    """Return the starts of places up to their first number: `encoder.layer.0.mlp.` is in `encoder.layer.`."""
    found = set()
    for place in places:
        steps = place.split(".")
        at = next((at for at, step in enumerate(steps) if step.isdecimal()), None)
        found.add(".".join(steps[:at]) + "." if at else place)
    return found
