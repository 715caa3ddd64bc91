"""What SECURITY.md promises in numbers is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from esm_viz.core.recipe import LARGEST_RECIPE, LONGEST_SCALAR
from esm_viz.data.images import image_decoder
from esm_viz.families import vision_tower
from esm_viz.ui.server.visitor_limits import WORKSHOP
from esm_viz.ui.session import session_archive, session_store
from esm_viz.ui.uploads import upload_unpack

PAGE = " ".join((Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8").split())
PROMISES = {
    r"A recipe has at most (\d+) bytes": LARGEST_RECIPE,
    r"one of its texts (\d+) characters": LONGEST_SCALAR,
    r"at most (\d+) pixels": image_decoder.MOST_PIXELS,
    r"pixels and (\d+) bytes": image_decoder.MOST_BYTES,
    r"at most (\d+) blocks": vision_tower.MOST_BLOCKS,
    r"at most (\d+) files": upload_unpack.MOST_FILES,
    r"files and (\d+) bytes unpacked": upload_unpack.MOST_BYTES,
    r"(\d+) hours after its last request": session_store.IDLE_SECONDS / 3600,
    r"(\d+) minutes after its last page": session_store.GRACE_SECONDS / 60,
    r"or (\d+) days after the last change": session_archive.KEPT_SECONDS / 86400,
    r"\((\d+) bytes of uploads\)": WORKSHOP.uploads,
}


@pytest.mark.parametrize("promise", PROMISES)
def test_a_number_on_the_page_is_the_codes(promise: str) -> None:
    assert [float(found) for found in re.findall(promise, PAGE)] == [PROMISES[promise]]


def test_the_readme_leads_to_the_page() -> None:
    assert "[SECURITY.md](SECURITY.md)" in (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
