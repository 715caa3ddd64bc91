"""requirements.lock holds one version of each requirement, within its range, for every system and from no place."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def requirements(file: str) -> list[Requirement]:
    """Read a requirements file: nothing but requirements, comments and empty lines."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line.partition(" #")[0]) for line in lines if line and not line.startswith("#")]


LOCK = requirements("requirements.lock")


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_the_lock_satisfies_every_range(file: str) -> None:
    for wanted in requirements(file):
        found = [each for each in LOCK if canonicalize_name(each.name) == canonicalize_name(wanted.name)]
        assert found, f"{wanted.name} is not in requirements.lock, run script/lock"
        for each in found:
            (pin,) = each.specifier
            assert wanted.specifier.contains(pin.version), f"{each} is not {wanted}, run script/lock"


def test_the_lock_names_exact_versions_and_no_build_or_place() -> None:
    for each in LOCK:
        (pin,) = each.specifier
        assert (pin.operator, each.url) == ("==", None)
        assert "+" not in pin.version, f"{each} is one build, which others cannot install"


def test_what_is_for_some_systems_says_so() -> None:
    for each in LOCK:
        if each.name.startswith(("nvidia-", "cuda-", "triton")):
            assert each.marker is not None
            assert not each.marker.evaluate({"sys_platform": "darwin"})
