"""Files of weights, heads and packed images as an enemy or a bad disk would make them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile import weights
from tests.hostile.bench import Bench, Case, check, evaluate, library, upload

GROUPS = {
    "cut": [*weights.cut()],
    "flipped": [*weights.flipped()],
    "headers": [*weights.headers()],
    "shapes": [*weights.shapes()],
    "not finite": [*weights.not_finite()],
    "beside": [*weights.beside()],
    "poisoned": [*weights.poisoned()],
    "special": [*weights.special()],
}
READ = ("flipped", "not finite", "poisoned")  # found when whole files are read, so `check` lets them pass


@pytest.mark.parametrize("group", GROUPS)
def test_the_library_refuses(bench: Bench, group: str) -> None:
    bench.refuses(GROUPS[group], library)


@pytest.mark.parametrize("group", GROUPS)
def test_the_command_line_refuses(bench: Bench, group: str) -> None:
    bench.refuses(GROUPS[group], evaluate if group in READ else check)


@pytest.mark.parametrize("group", [group for group in GROUPS if group != "special"])
def test_an_upload_refuses(bench: Bench, group: str) -> None:
    bench.refuses(GROUPS[group], upload)


def test_the_bench_sees_what_is_let_in_and_what_is_left(bench: Bench) -> None:
    def litters(folder: Path) -> str:
        (folder / "litter").write_text("x", encoding="utf-8")
        return f"two\nlines in {folder}"

    whole = [Case("whole", lambda folder: None)]
    assert bench.judge(whole, library) == bench.judge(whole, evaluate) == ["whole: it was let in"]
    assert len(bench.judge(whole, litters)) == 3
