"""Errors as a tree and as one line of text."""

from __future__ import annotations

import pickle
import re

import pytest

from esm_viz.core import errors
from esm_viz.core.errors import (
    LORA,
    RUNS_CODE,
    Cancelled,
    CheckpointError,
    EsmVizError,
    ExportError,
    LayoutError,
    ProofFailed,
    RecipeError,
    located,
)
from esm_viz.runtime.thread_pool import parallel_map
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


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_stands_beside_its_class_in_the_tree(kind: type[EsmVizError]) -> None:
    rows = [line.lstrip(" │├└─").split() for line in (errors.__doc__ or "").splitlines()]
    assert [kind.__name__, kind.kind] in [row[:2] for row in rows]


def test_kinds_are_distinct_words_of_small_letters() -> None:
    kinds = [kind.kind for kind in ALL] + [LORA, RUNS_CODE]
    assert len(set(kinds)) == len(kinds)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", kind) for kind in kinds)


def test_finer_kinds_are_described_beside_the_tree() -> None:
    described = re.findall(r"`([a-z-]+)`\s\(an?\s", errors.__doc__ or "")
    assert described == [LORA, RUNS_CODE]


@pytest.mark.parametrize("kind", ALL)
def test_a_kind_is_no_part_of_the_sentence(kind: type[EsmVizError]) -> None:
    assert str(kind("what", "remedy", "where", kind=LORA)) == str(kind("what", "remedy", "where"))
    assert str(kind("what", "remedy", "where")) == "what, where, remedy"


@pytest.mark.parametrize("kind", ALL)
def test_a_finer_kind_and_a_subject_survive_the_way_to_another_process(kind: type[EsmVizError]) -> None:
    back = pickle.loads(pickle.dumps(kind("what", "remedy", "where", kind=LORA, subject="ants")))
    assert (type(back), back.kind, str(back)) == (kind, LORA, "ants: what, where, remedy")
    assert kind("what", "remedy").kind == kind.kind


def test_a_finer_kind_survives_the_way_out_of_a_worker_thread() -> None:
    def work(piece: int) -> int:
        if piece == 1:
            raise LayoutError("it is wrong", "mend it", kind=LORA)
        return piece

    with pytest.raises(LayoutError) as caught:
        parallel_map(work, range(3))
    assert caught.value.kind == LORA


def test_a_subject_stands_before_what_is_wrong() -> None:
    assert str(CheckpointError("it is empty", "save it again", "x.pt", subject="ants")) == (
        "ants: it is empty, x.pt, save it again"
    )


def test_a_placed_error_keeps_its_kind_and_what_it_found() -> None:
    failed = ProofFailed("bad", "go", kind=RUNS_CODE, subject="ants")
    failed.rows = (1, 2)
    placed = failed.placed("there")
    assert (placed.kind, placed.rows, str(placed)) == (RUNS_CODE, (1, 2), "ants: bad, there, go")
    assert (failed.where, placed.args) == ("", ("bad", "go", "there"))
    assert str(failed.placed("there", "bees")) == "bees: bad, there, go"


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
