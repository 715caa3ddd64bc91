"""Every test of the mathematics runs with one thread, as on a busy server, and with two, as in a notebook."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _with_one_thread_and_with_two(threads: int) -> None:
    """Ask for both."""
