"""Benchmarks are run by hand, so that a module that was renamed under them would be found too late."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("module", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_a_benchmark_finds_what_it_imports(module: str) -> None:
    importlib.import_module(f"benchmarks.{module}")
