"""Classes are mapped to a head's rows by name, or in an order that is known; never by a guess."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pytest

from esm_viz.core.errors import ImagesError
from esm_viz.data.class_labels import Classes, rows_of_numbers, rows_of_words
from tests.support.errors import says

HEAD = Classes(3, ("apple pie", "polka-dotted", "T - shirt / top"))


def test_how_a_name_is_written_does_not_matter() -> None:
    found, known = rows_of_words(["Apple_Pie", "T-shirt_top", "polka dotted"], HEAD, "i")
    assert found == {"Apple_Pie": 0, "polka dotted": 1, "T-shirt_top": 2}
    assert known == HEAD.names


def test_names_that_differ_in_writing_alone_must_be_written_exactly() -> None:
    head = Classes(3, ("A", "a", "b"))
    assert rows_of_words(["A", "a"], head, "i")[0] == {"A": 0, "a": 1}
    text = (
        "the folder 'a ' may mean row 0 ('A') or row 1 ('a') of the head, i, "
        "give each row a name of its own by the model's `classes` in the recipe, and its folder the same name"
    )
    with says(ImagesError, text):
        rows_of_words(["a "], head, "i")
    assert rows_of_numbers(["a", "A", "b"], head, "i") == [1, 0, 2]


def test_unpadded_numbers_without_names_are_refused() -> None:
    folders = sorted(map(str, range(11)))
    text = (
        "class folders are numbers of different lengths, so 1 may come second or later, i, "
        "write them with zeros in front, or name the model's `classes` in the recipe"
    )
    with says(ImagesError, text):
        rows_of_words(folders, Classes(11), "i")
    assert rows_of_words([f"{at:02}" for at in range(11)], Classes(11), "i")[0]["10"] == 10


def test_numbers_follow_the_names_where_the_head_has_all_of_them() -> None:
    assert rows_of_numbers(["polka_dotted", "Apple pie"], HEAD, "i") == [1, 0]


def test_numbers_stand_for_themselves_where_no_name_speaks_against_it() -> None:
    assert rows_of_numbers([], HEAD, "i") == [0, 1, 2]
    assert rows_of_numbers(["AnnualCrop", "Forest"], Classes(2), "i") == [0, 1]
    assert rows_of_numbers(["AnnualCrop", "Forest"], Classes(2, ("annual crop land", "forest")), "i") == [0, 1]


@pytest.mark.parametrize("names", [["Forest", "AnnualCrop"], ["AnnualCrop", "Forest", "River"]])
def test_numbers_that_may_mean_other_rows_are_refused(names: list[str]) -> None:
    text = (
        "its class 'AnnualCrop' is none of the head's (annual crop land, forest …), and the others stand elsewhere, i, "
        "name the model's `classes` in the recipe as the images do, in the order of the head's rows"
    )
    with says(ImagesError, text):
        rows_of_numbers(names, Classes(2, ("annual crop land", "forest")), "i")


# Accents: a Mac writes an accent behind its letter (NFD), most heads have it in the letter (NFC).

CAFE = unicodedata.normalize("NFC", "café")
CAFE_OF_A_MAC = unicodedata.normalize("NFD", "café")


def test_an_accent_may_be_part_of_its_letter_or_follow_it() -> None:
    head = Classes(3, ("cafe", CAFE, "tea"))
    assert CAFE != CAFE_OF_A_MAC
    assert rows_of_words(["cafe", CAFE_OF_A_MAC, "tea"], head, "i")[0] == {"cafe": 0, CAFE_OF_A_MAC: 1, "tea": 2}
    assert rows_of_words([CAFE_OF_A_MAC.upper()], head, "i")[0] == {CAFE_OF_A_MAC.upper(): 1}
    assert rows_of_numbers([CAFE_OF_A_MAC, "tea"], head, "i") == [1, 2]


def test_vowel_signs_tell_names_apart() -> None:
    with pytest.raises(ImagesError):  # ki and ka differ in a mark alone, and neither stands for the other
        rows_of_words(["कि"], Classes(2, ("का", "x")), "i")


# Names given twice.

TWICE = ("crane", "bird", "crane", "ship")


def test_equal_lists_mean_equal_numbers_also_where_a_name_is_given_twice() -> None:
    assert rows_of_numbers(TWICE, Classes(4, TWICE), "i") == [0, 1, 2, 3]
    assert rows_of_numbers(["Crane", "bird", "crane", "Ship"], Classes(4, ("Crane", "bird", "crane", "ship")), "i") == [
        *range(4)
    ]


@pytest.mark.parametrize(
    ("names", "head"),
    [
        (TWICE[::-1], TWICE),
        (("crane", "bird", "crane"), TWICE),
        (TWICE, ("crane", "bird", "lorry", "ship")),
        (("crane", "bird", "lorry", "ship"), TWICE),
    ],
)
def test_a_name_given_twice_in_lists_that_differ_is_refused(names: Sequence[str], head: tuple[str, ...]) -> None:
    text = (
        "the class name 'crane' stands for more than one class, and the table's names differ from the head's, i, "
        "name the model's `classes` in the recipe as the images do, in the order of the head's rows"
    )
    with says(ImagesError, text):
        rows_of_numbers(names, Classes(4, head), "i")


def test_a_name_given_twice_that_the_head_does_not_know_leaves_numbers_as_they_are() -> None:
    assert rows_of_numbers(TWICE, Classes(4, ("a", "bird", "b", "ship")), "i") == [0, 1, 2, 3]


def test_a_folder_that_may_be_two_rows_is_refused_and_the_others_are_not() -> None:
    text = (
        "the folder 'crane' may mean row 0 ('crane') or row 2 ('crane') of the head, i, "
        "give each row a name of its own by the model's `classes` in the recipe, and its folder the same name"
    )
    with says(ImagesError, text):
        rows_of_words(["bird", "crane"], Classes(4, TWICE), "i")
    assert rows_of_words(["bird", "ship"], Classes(4, TWICE), "i")[0] == {"bird": 1, "ship": 3}


@pytest.mark.parametrize("found", [["Cat", "cat"], [CAFE_OF_A_MAC, CAFE]])
def test_two_folders_of_one_class_are_refused(found: list[str]) -> None:
    name = found[1]
    both = f"the folders {found[0]!r} and {found[1]!r} are both the head's class {name!r}"
    text = f"{both}, i, keep one folder for each class"
    with says(ImagesError, text):
        rows_of_words(found, Classes(2, (name, "dog")), "i")


# Lists of another length than the head's rows.


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c", "d")])
def test_a_list_of_another_length_is_refused_where_no_name_tells_the_rows(names: tuple[str, ...]) -> None:
    text = (
        f"the table names {len(names)} classes for a head of 3 rows, i, "
        "give the head of these classes, or name its rows by the model's `classes` in the recipe"
    )
    with says(ImagesError, text):
        rows_of_numbers(names, Classes(3), "i")
