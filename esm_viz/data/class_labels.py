"""From what a data set calls its classes to the rows of the head that reads them; never by a guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from esm_viz.core.errors import ImagesError


class Classes(NamedTuple):
    """What a head says of its classes: how many rows it has, and their names where it names them."""

    rows: int
    names: tuple[str, ...] = ()


def folded(name: str) -> str:
    """Return a name as it is compared: letters and digits alone, small, so that `Polka_Dotted` is `polka-dotted`."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def rows_of_folders(found: Sequence[str], classes: Classes, where: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Map class folders to rows, and name the rows.

    By the head's names where it has some; case, spaces, hyphens and underscores do not matter. Else in sorted order,
    in which torchvision's ImageFolder trains heads too.

    Args:
        found: the folders' names, sorted, each once.
        classes: of the head.
        where: the set, for people.

    Raises:
        ImagesError: folders could be mapped wrongly.
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
    """Return the row of each number that a table counts its classes by.

    By name where the head names all of them; else the numbers themselves, as long as no name speaks against it.

    Args:
        names: what the table calls its classes 0, 1, …; empty where it does not say.
        classes: of the head.
        where: the set, for people.

    Raises:
        ImagesError: numbers could be mapped wrongly.
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
    """Return the rows of those of the found names that are among the head's: exactly, else up to how it is written."""
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
    """Return the place of each name as it is compared, where no two names are the same then."""
    places: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        places.setdefault(folded(name), []).append(at)
    return {name: found[0] for name, found in places.items() if name and len(found) == 1}
