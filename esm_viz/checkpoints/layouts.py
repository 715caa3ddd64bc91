"""The layouts a checkpoint may have: how a file names the tensors of open_clip's vision tower.

Reading and writing share this one table, so what can be written can be read again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from esm_viz.errors import LayoutError

BASE = "base"  # not a layout of its own: whichever the base file has


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to name a tower's tensors in a file.

    Attributes:
        name: on the command line.
        title: for people.
        prefix: what stands before open_clip's names of the tower.
    """

    name: str
    title: str
    prefix: str

    def in_file(self, name: str) -> str:
        """Return the file's name of one of the tower's tensors."""
        return self.prefix + name

    def in_tower(self, name: str) -> str | None:
        """Return the tower's name of a file's tensor; None for what stands outside the tower."""
        return name.removeprefix(self.prefix) if name.startswith(self.prefix) else None


CLIP = Layout("clip", "open_clip CLIP, visual. names", "visual.")
TOWER = Layout("tower", "open_clip vision tower", "")
LAYOUTS = {layout.name: layout for layout in (TOWER, CLIP)}


def layout_of(names: Iterable[str]) -> Layout:
    """Return the layout of a file with these tensors: a CLIP where anything stands under `visual.`."""
    return CLIP if any(name.startswith(CLIP.prefix) for name in names) else TOWER


def chosen_layout(name: object, base: Layout) -> Layout:
    """Return the layout that was asked for; `base` is the base file's.

    Raises:
        LayoutError: there is none of that name.
    """
    if name == BASE:
        return base
    if not isinstance(name, str) or name not in LAYOUTS:
        raise LayoutError(f"there is no layout {name!r:.60}", f"use {', '.join((BASE, *LAYOUTS))}")
    return LAYOUTS[name]
