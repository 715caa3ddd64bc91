"""The mapping from a data set's class names or numbers to rows of a head; refused where it could be wrong."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from esm_viz.core.errors import ImagesError

_IN_ORDER = "name the model's `classes` in the recipe as the images do, in the order of the head's rows"


class Classes(NamedTuple):
    """The classes of a head: the number of rows, and their names if the head has them."""

    rows: int
    names: tuple[str, ...] = ()


def folded(name: str) -> str:
    """Return a name's letters, accents and digits in lower case, for comparison: `Polka_Dotted` equals `polka-dotted`.

    An accent may be part of its letter (NFC) or follow it (NFD, as a Mac writes file names).
    """
    text = _composed(_composed(name).casefold())
    return "".join(mark for mark in text if mark.isalnum() or unicodedata.category(mark).startswith("M"))


def rows_of_words(
    found: Sequence[str], classes: Classes, where: str, what: str = "folder"
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Map class folders, or words in a table, to rows, and name the rows.

    If the head has class names, they are mapped by name; case, spaces, hyphens and underscores do not matter. If not,
    they are mapped in sorted order, as by torchvision's ImageFolder.

    Args:
        found: the folders' names or the words, sorted, without duplicates.
        classes: classes of the head.
        where: name of the image set, for error messages.
        what: "folder" or "label", for error messages.

    Raises:
        ImagesError: the mapping could be wrong.
    """
    if classes.names:
        rows = by_name(found, classes.names)
        unknown = next((name for name in found if name not in rows), None)
        if unknown is not None:
            raise _unknown(unknown, found, classes.names, where, what)
        return rows, classes.names
    if len(found) != classes.rows:
        raise ImagesError(
            f"there are {len(found)} class {what}s for a head of {classes.rows} rows",
            f"give every class a {what}, or name the classes in the head's metadata",
            where,
        )
    if all(name.isdecimal() for name in found) and sorted(found, key=int) != list(found):
        raise ImagesError(
            f"class {what}s are numbers of different lengths, so {found[1]} may come second or later",
            "write them with zeros in front, or name the model's `classes` in the recipe",
            where,
        )
    return {name: row for row, name in enumerate(found)}, tuple(found)


def rows_of_numbers(names: Sequence[str], classes: Classes, where: str) -> list[int]:
    """Return the row for each class number of a table.

    Equal lists in equal order mean equal numbers, also where a name is given twice. If not equal, numbers are mapped by
    name if the head has all of the table's names. If it has not, they are the rows themselves, unless a name or the
    number of names contradicts that.

    Args:
        names: the table's names of its classes 0, 1, …; empty if it has none.
        classes: classes of the head.
        where: name of the image set, for error messages.

    Raises:
        ImagesError: the mapping could be wrong.
    """
    if names and not classes.names and len(names) != classes.rows:
        raise ImagesError(
            f"the table names {len(names)} classes for a head of {classes.rows} rows",
            "give the head of these classes, or name its rows by the model's `classes` in the recipe",
            where,
        )
    if not names or not classes.names or _equal(names, classes.names):
        return list(range(classes.rows))
    rows = by_name(names, classes.names)
    if len(rows) == len(names):
        return [rows[name] for name in names]
    known = {form(name) for name in classes.names for form in (_composed, folded)} - {""}
    twice = next((name for name in names if name not in rows and {_composed(name), folded(name)} & known), None)
    if twice is not None:  # it or a row's name occurs twice, and the lists differ
        raise ImagesError(
            f"the class name {twice!r} stands for more than one class, and the table's names differ from the head's",
            _IN_ORDER,
            where,
        )
    moved = any(rows.get(name, at) != at for at, name in enumerate(names))
    if moved or len(names) != classes.rows:
        unknown = next(name for name in names if name not in rows)
        raise ImagesError(
            f"its class {unknown!r} is none of the head's ({', '.join(classes.names[:3])} …), and the others stand "
            "elsewhere",
            _IN_ORDER,
            where,
        )
    return list(range(len(names)))


def whole_numbers(kind: str) -> str:
    """Return what to do about labels of another kind: "bool", "float", "words" or "" for anything else."""
    remedies = {
        "bool": "give whole numbers, 0 for False and 1 for True",
        "float": "give whole numbers, as int64",
        "words": "give whole numbers, for each word the row of the head",
    }
    return remedies.get(kind, "give one whole number for each image")


def by_name(found: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Return the row of each found name that stands for one row, comparing names exactly first and then as `folded`.

    A name that two rows have, or that two found names are equal to, is left out.
    """
    exact, loose = _once(names, _composed), _once(names, folded)
    single, unambiguous = _once(found, _composed), _once(found, folded)
    rows = {}
    for name in found:
        if _composed(name) in exact and _composed(name) in single:
            rows[name] = exact[_composed(name)]
        elif folded(name) in loose and folded(name) in unambiguous:
            rows[name] = loose[folded(name)]
    return rows


def _unknown(name: str, found: Sequence[str], names: Sequence[str], where: str, what: str) -> ImagesError:
    """Return the error for a folder or word that stands for no row, or may stand for several."""
    same = [row for row, known in enumerate(names) if _alike(known, name)]
    if len(same) > 1:
        one, other = same[:2]
        return ImagesError(
            f"the {what} {name!r} may mean row {one} ({names[one]!r}) or row {other} ({names[other]!r}) of the head",
            f"give each row a name of its own by the model's `classes` in the recipe, and its {what} the same name",
            where,
        )
    twin = next((other for other in found if other != name and _alike(other, name)), None)
    if same and twin is not None:
        return ImagesError(
            f"the {what}s {name!r} and {twin!r} are both the head's class {names[same[0]]!r}",
            f"keep one {what} for each class",
            where,
        )
    return ImagesError(
        f"the {what} {name!r} is none of the head's classes ({', '.join(names[:3])} …)",
        f"name class {what}s as the head does",
        where,
    )


def _equal(one: Sequence[str], other: Sequence[str]) -> bool:
    """Say whether two lists are equal name by name; case and punctuation count where they tell two names apart."""
    if len(one) != len(other):
        return False
    single = _once(one, folded).keys() & _once(other, folded).keys()
    return all(
        _composed(a) == _composed(b) or (folded(a) == folded(b) and folded(a) in single)
        for a, b in zip(one, other, strict=True)
    )


def _alike(one: str, other: str) -> bool:
    return _composed(one) == _composed(other) or folded(one) == folded(other) != ""


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _once(names: Sequence[str], form: Callable[[str], str]) -> Mapping[str, int]:
    """Return the index of each name in this form; names that are equal in it, or empty, are left out."""
    places: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        places.setdefault(form(name), []).append(at)
    return {name: found[0] for name, found in places.items() if name and len(found) == 1}
