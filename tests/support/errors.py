"""Errors are compared whole: the type and every word, because the sentence is what a person sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from esm_viz.core.errors import EsmVizError


@contextmanager
def says(kind: type[EsmVizError], text: str) -> Iterator[None]:
    """Expect an error of exactly this type with exactly this sentence."""
    with pytest.raises(EsmVizError) as caught:
        yield
    assert (type(caught.value).__name__, str(caught.value)) == (kind.__name__, text)
