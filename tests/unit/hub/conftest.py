"""A hub on the loopback address for the tests of this room, with a cache of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.loopback_hub import LoopbackHub, used_here


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """Return a hub that huggingface_hub asks in this process."""
    with LoopbackHub() as started, used_here(started, tmp_path / "home"):
        yield started
