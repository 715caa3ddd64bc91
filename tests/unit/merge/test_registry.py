"""Registering a method: what the decorator reads, and what it refuses at import."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import pytest
from torch import Tensor

from esm_viz.errors import RecipeError
from esm_viz.merge import METHODS, LayerUpdate, Memo, run_now, with_parameters
from esm_viz.merge.esm import GAIN
from esm_viz.merge.registry import merge_method
from esm_viz.recipe import Recipe
from tests.support.errors import says


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    """Leave the registry as it was."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


def test_the_signature_is_the_declaration() -> None:
    @merge_method("first", title="First", source="here")
    def first(updates: Sequence[LayerUpdate], memo: Memo = run_now, gain: Annotated[float, GAIN] = 1.5) -> Tensor:
        """Return the first.

        Nothing else.
        """
        return updates[0].delta * gain

    method = METHODS["first"]
    assert method.summary == "Return the first."
    assert (tuple(method.knobs), dict(method.defaults)) == (("gain", "alpha"), {"gain": 1.5, "alpha": 1.0})
    assert (method.reads, method.needs, method.live) == (("gain",), "delta", None)


def test_a_name_cannot_be_taken_twice() -> None:
    with pytest.raises(ValueError, match=r"^two merge methods are named esm$"):
        merge_method("esm", title="Again", source="here")(lambda updates: updates[0].delta)


def test_a_parameter_without_a_knob_is_refused() -> None:
    def bare(updates: Sequence[LayerUpdate], gain: float = 1.0) -> Tensor:
        return updates[0].delta * gain

    with pytest.raises(TypeError, match=r"^bare.gain has no Knob in its annotation$"):
        merge_method("bare", title="Bare", source="here")(bare)


@pytest.mark.parametrize("name", ["recipe", "values", "self"])
def test_a_parameter_may_be_asked_for_by_any_name(name: str) -> None:
    own = Recipe("averaging", "ViT-B-32", "base.safetensors", (), {})
    with says(RecipeError, f"averaging has no parameter {name!r}, use alpha"):
        with_parameters(own, **{name: 1.0})


def test_minus_zero_is_zero() -> None:
    own = with_parameters(Recipe("averaging", "ViT-B-32", "base.safetensors", (), {}), alpha="-0")
    assert str(own.parameters["alpha"]) == "0.0"
