"""The mapping from a data set's class names or numbers to rows of a head; refused where it could be wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from esm_viz.core.errors import ImagesError


class Classes(NamedTuple):
    """The classes of a head: the number of rows, and their names if the head has them."""

    rows: int
    names: tuple[str, ...] = ()


def folded(name: str) -> str:
    """Return a name's letters and digits in lower case, for comparison: `Polka_Dotted` equals `polka-dotted`."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def rows_of_folders(found: Sequence[str], classes: Classes, where: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Map class folders to rows, and name the rows.

    If the head has class names, folders are mapped by name; case, spaces, hyphens and underscores do not matter. If
    not, they are mapped in sorted order, as by torchvision's ImageFolder.

    Args:
        found: the folders' names, sorted, without duplicates.
        classes: classes of the head.
        where: name of the image set, for error messages.

    Raises:
        ImagesError: the mapping could be wrong.
    """
    if classes.names:
        rows = by_name(found, classes.names)
        unknown = [folder for folder in found if folder not in rows]
        if unknown:
            raise ImagesError(
                f"the folder {unknown[0]!r} is none of the head's classes ({', '.join(classes.names[:3])} …)",
                "name class folders as the head does",
                where,
            )
        return rows, classes.names
    if len(found) != classes.rows:
        raise ImagesError(
            f"there are {len(found)} class folders for a head of {classes.rows} rows",
            "give every class a folder, or name the classes in the head's metadata",
            where,
        )
    if all(folder.isdecimal() for folder in found) and sorted(found, key=int) != list(found):
        raise ImagesError(
            f"class folders are numbers of different lengths, so {found[1]} may come second or later",
            "write them with zeros in front, or name the model's `classes` in the recipe",
            where,
        )
    return {folder: row for row, folder in enumerate(found)}, tuple(found)


def rows_of_numbers(names: Sequence[str], classes: Classes, where: str) -> list[int]:
    """Return the row for each class number of a table.

    Numbers are mapped by name if the head has all of the table's names. If not, they are the rows themselves, unless a
    name contradicts that.

    Args:
        names: the table's names of its classes 0, 1, …; empty if it has none.
        classes: classes of the head.
        where: name of the image set, for error messages.

    Raises:
        ImagesError: the mapping could be wrong.
    """
    if not names or not classes.names:
        return list(range(max(len(names), classes.rows)))
    rows = by_name(names, classes.names)
    if len(rows) == len(names):
        return [rows[name] for name in names]
    moved = next((name for at, name in enumerate(names) if rows.get(name, at) != at), None)
    if moved is not None or len(names) != classes.rows:
        unknown = next(name for name in names if name not in rows)
        raise ImagesError(
            f"its class {unknown!r} is none of the head's ({', '.join(classes.names[:3])} …), and the others stand "
            "elsewhere",
            "name the model's `classes` in the recipe as the images do, in the order of the head's rows",
            where,
        )
    return list(range(len(names)))


def by_name(found: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Return the row of each found name that the head has, comparing names exactly first and then as `folded`."""
    exact = {name: row for row, name in enumerate(names)}
    loose = _once(names)
    unambiguous = _once(found)
    rows = {}
    for name in found:
        if name in exact:
            rows[name] = exact[name]
        elif folded(name) in loose and folded(name) in unambiguous:
            rows[name] = loose[folded(name)]
    return rows


def _once(names: Sequence[str]) -> Mapping[str, int]:
    """Return the index of each folded name; empty if two names are equal once folded."""
    places: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        places.setdefault(folded(name), []).append(at)
    return {name: found[0] for name, found in places.items() if name and len(found) == 1}
