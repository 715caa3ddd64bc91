"""Zips and images that climb, lie or grow: refused before they fill memory or disk, or write anywhere."""

from __future__ import annotations

import tracemalloc

import pytest

from tests.hostile import archives
from tests.hostile.bench import Bench, check, evaluate, library, merge, upload

GROUPS = {
    "damaged": [*archives.damaged()],
    "images": [*archives.images()],
    "places": [*archives.places()],
}
MOST_MEMORY = 16 << 20  # bytes; each bomb grows to 48 MB


@pytest.mark.parametrize("group", GROUPS)
def test_the_library_refuses(bench: Bench, group: str) -> None:
    bench.refuses(GROUPS[group], library)


@pytest.mark.parametrize("group", GROUPS)
def test_the_command_line_refuses(bench: Bench, group: str) -> None:
    bench.refuses(GROUPS[group], check if group == "places" else merge if group == "images" else evaluate)


def test_a_bomb_is_refused_before_it_grows(bench: Bench) -> None:
    cases = [*archives.bombs()]
    tracemalloc.start()
    try:
        bench.refuses(cases, library)
        grown = tracemalloc.get_traced_memory()[1] - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert grown < MOST_MEMORY


def test_an_upload_refuses(bench: Bench) -> None:
    bench.refuses([*archives.climbing()], upload)


def test_an_upload_of_bad_images_is_refused(bench: Bench) -> None:
    bench.refuses(GROUPS["damaged"], upload)
