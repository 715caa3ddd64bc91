"""Pickles with payloads, of every protocol and opcode: read as data or refused, never run."""

from __future__ import annotations

import pytest

from tests.hostile import pickles
from tests.hostile.bench import TRIPWIRE, Bench, check, evaluate, library, upload

GROUPS = {"pickles": [*pickles.cases()], "renamed": [*pickles.renamed()]}


@pytest.mark.parametrize("group", GROUPS)
def test_the_library_refuses(bench: Bench, group: str) -> None:
    bench.refuses(GROUPS[group], library)


@pytest.mark.parametrize("group", GROUPS)
def test_the_command_line_refuses(bench: Bench, group: str) -> None:
    bench.refuses(GROUPS[group][::3], check)
    bench.refuses(GROUPS[group][::9], evaluate)


@pytest.mark.parametrize("group", GROUPS)
def test_an_upload_refuses(bench: Bench, group: str) -> None:
    bench.refuses(GROUPS[group][::7], upload)


def test_the_tripwire_sees_a_pickle_that_is_read() -> None:
    import pickle

    TRIPWIRE.tripped, TRIPWIRE.armed = [], True
    try:
        pickle.loads(b"cbuiltins\nlen\n.")
    finally:
        TRIPWIRE.armed = False
    assert TRIPWIRE.tripped == ["pickle.find_class ('builtins', 'len')"]
