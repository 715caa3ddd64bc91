"""Classes are mapped to a head's rows by name, or in an order that is known; never by a guess."""

from __future__ import annotations

import pytest

from esm_viz.core.errors import ImagesError
from esm_viz.data.class_labels import Classes, rows_of_folders, rows_of_numbers
from tests.support.errors import says

HEAD = Classes(3, ("apple pie", "polka-dotted", "T - shirt / top"))


def test_how_a_name_is_written_does_not_matter() -> None:
    found, known = rows_of_folders(["Apple_Pie", "T-shirt_top", "polka dotted"], HEAD, "i")
    assert found == {"Apple_Pie": 0, "polka dotted": 1, "T-shirt_top": 2}
    assert known == HEAD.names


def test_names_that_differ_in_writing_alone_must_be_written_exactly() -> None:
    head = Classes(3, ("A", "a", "b"))
    assert rows_of_folders(["A", "a"], head, "i")[0] == {"A": 0, "a": 1}
    with says(
        ImagesError, "the folder 'a ' is none of the head's classes (A, a, b …), i, name class folders as the head does"
    ):
        rows_of_folders(["a "], head, "i")


def test_unpadded_numbers_without_names_are_refused() -> None:
    folders = sorted(map(str, range(11)))
    text = (
        "class folders are numbers of different lengths, so 1 may come second or later, i, "
        "write them with zeros in front, or name the model's `classes` in the recipe"
    )
    with says(ImagesError, text):
        rows_of_folders(folders, Classes(11), "i")
    assert rows_of_folders([f"{at:02}" for at in range(11)], Classes(11), "i")[0]["10"] == 10


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
