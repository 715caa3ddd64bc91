"""Errors as a tree and as one line of text."""

from __future__ import annotations

import pickle

import pytest

from esm_viz.core import errors
from esm_viz.core.errors import Cancelled, CheckpointError, EsmVizError, ExportError, RecipeError, located
from tests.support.errors import says

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EsmVizError)]


def test_an_error_says_what_where_and_what_to_do() -> None:
    assert str(RecipeError("it is wrong", "mend it", "here")) == "it is wrong, here, mend it"


def test_an_error_without_a_place_says_the_rest() -> None:
    assert str(RecipeError("it is wrong", "mend it")) == "it is wrong, mend it"


def test_an_error_is_one_line_whatever_it_quotes() -> None:
    assert str(RecipeError("it\nis \t wrong", "mend\r\nit")) == "it is wrong, mend it"


@pytest.mark.parametrize("kind", ALL)
def test_an_error_survives_the_way_to_another_process(kind: type[EsmVizError]) -> None:
    back = pickle.loads(pickle.dumps(kind("what", "remedy", "where")))
    assert (type(back), back.what, back.remedy, back.where) == (kind, "what", "remedy", "where")


@pytest.mark.parametrize("kind", ALL)
def test_every_error_is_in_the_tree_that_the_module_draws(kind: type[EsmVizError]) -> None:
    assert f"{kind.__name__} " in f"{errors.__doc__} ".replace("\n", " \n")


def test_every_error_has_a_sentence_of_its_own() -> None:
    sentences = [(kind.__doc__ or "").strip() for kind in ALL]
    assert all(sentence.endswith(".") for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


def test_a_place_is_added_where_it_is_not_known_and_the_type_stays() -> None:
    with says(CheckpointError, "bad, model ants, go"), located("model ants"):
        raise CheckpointError("bad", "go")


def test_a_place_that_is_known_is_kept() -> None:
    with says(CheckpointError, "bad, inside, go"), located("outside"):
        raise CheckpointError("bad", "go", "inside")


def test_other_errors_pass_a_place_unchanged() -> None:
    with pytest.raises(KeyError, match=r"^'x'$"), located("outside"):
        raise KeyError("x")


def test_a_cancelled_error_needs_no_words_and_takes_a_place() -> None:
    assert str(Cancelled()) == "stopped, start it again to go on"
    with says(Cancelled, "stopped, at layer 3, start it again to go on"), located("at layer 3"):
        raise Cancelled


def test_the_cause_of_a_located_error_is_kept() -> None:
    inner = ExportError("bad", "go")
    with pytest.raises(ExportError) as caught, located("there"):
        raise inner
    assert caught.value.__cause__ is inner
