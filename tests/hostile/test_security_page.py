"""What SECURITY.md promises in numbers is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from esm_viz.data import decoding
from esm_viz.models import tower
from esm_viz.recipe import LARGEST_RECIPE, LONGEST_SCALAR
from esm_viz.ui import shelf, store, uploads
from esm_viz.ui.limits import WORKSHOP

PAGE = " ".join((Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8").split())
PROMISES = {
    r"A recipe has at most (\d+) bytes": LARGEST_RECIPE,
    r"one of its texts (\d+) characters": LONGEST_SCALAR,
    r"at most (\d+) pixels": decoding.MOST_PIXELS,
    r"pixels and (\d+) bytes": decoding.MOST_BYTES,
    r"at most (\d+) blocks": tower.MOST_BLOCKS,
    r"at most (\d+) files": uploads.MOST_FILES,
    r"files and (\d+) bytes unpacked": uploads.MOST_BYTES,
    r"(\d+) hours after its last request": store.IDLE_SECONDS / 3600,
    r"(\d+) minutes after its last page": store.GRACE_SECONDS / 60,
    r"or (\d+) days after the last change": shelf.KEPT_SECONDS / 86400,
    r"\((\d+) bytes of uploads\)": WORKSHOP.uploads,
}


@pytest.mark.parametrize("promise", PROMISES)
def test_a_number_on_the_page_is_the_codes(promise: str) -> None:
    assert [float(found) for found in re.findall(promise, PAGE)] == [PROMISES[promise]]


def test_the_readme_leads_to_the_page() -> None:
    assert "[SECURITY.md](SECURITY.md)" in (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
