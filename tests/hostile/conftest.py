"""The bench of each test: one whole project for all of them, a place of its own for the copies."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.hostile.bench import Bench


@pytest.fixture
def bench(tiny_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Bench:
    caplog.set_level(logging.INFO)
    return Bench(tiny_folder, tmp_path, caplog)
