"""Silence while strangers' files are read ends with the last reader, whoever began first."""

from __future__ import annotations

import warnings

import pytest

from esm_viz.runtime.library_warnings import quiet


def test_nothing_is_warned_of_inside_and_all_is_outside() -> None:
    with quiet():
        warnings.warn("of a file", stacklevel=1)
    with pytest.raises(UserWarning, match="of us"):  # warnings are errors in tests
        warnings.warn("of us", stacklevel=1)


def test_readers_side_by_side_leave_the_filters_as_they_found_them() -> None:
    before = list(warnings.filters)
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # who began first ends first, as threads do
    warnings.warn("of the second one's file", stacklevel=1)
    second.__exit__(None, None, None)
    assert list(warnings.filters) == before


def test_a_reader_that_fails_ends_its_silence() -> None:
    before = list(warnings.filters)
    with pytest.raises(ValueError, match="broken"), quiet():
        raise ValueError("broken")
    assert list(warnings.filters) == before
