"""Registering a method: what the decorator reads, and what it refuses at import."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated

import pytest
from torch import Tensor

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Knob, Value
from esm_viz.merge import METHODS, LayerUpdate, Memo, run_now, with_parameters
from esm_viz.merge.esm import GAIN
from esm_viz.merge.method_registry import Preset, checked, merge_method
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


STRAY = dataclasses.replace(GAIN, formula="ΔW = {value} · {rank_ratio}")


def test_a_formula_that_names_another_methods_knob_is_refused() -> None:
    def bare(updates: Sequence[LayerUpdate], gain: Annotated[float, STRAY] = 1.0) -> Tensor:
        return updates[0].delta * gain

    with pytest.raises(TypeError, match=r"^the formula of bare.gain names 'rank_ratio', use live, value or a knob of"):
        merge_method("bare", title="Bare", source="here")(bare)
    assert "bare" not in METHODS


@pytest.mark.parametrize("presets", [[Preset("again", name="esm_cvpr")], [Preset("one"), Preset("two")]])
def test_the_name_of_a_preset_cannot_be_taken_twice(presets: list[Preset]) -> None:
    taken = presets[0].name or "bare"
    with pytest.raises(ValueError, match=f"^two presets are named {taken}$"):
        merge_method("bare", title="Bare", source="here", presets=presets)(lambda updates: updates[0].delta)
    assert "bare" not in METHODS


def test_a_preset_says_of_itself_what_differs_from_its_method() -> None:
    merge_method("bare", title="Bare", source="here", presets=[Preset("plain"), Preset("of 2020", name="old")])(
        lambda updates: updates[0].delta
    )
    plain, old = METHODS["bare"].presets
    assert (plain.name, plain.title, plain.source, plain.method) == ("bare", "Bare", "here", "bare")
    assert (old.name, old.title, old.source, old.method) == ("old", "Bare", "here", "bare")


@pytest.mark.parametrize("name", ["recipe", "values", "self"])
def test_a_parameter_may_be_asked_for_by_any_name(name: str) -> None:
    own = Recipe("averaging", "ViT-B-32", "base.safetensors", (), {})
    with says(RecipeError, f"averaging has no parameter {name!r}, use alpha"):
        with_parameters(own, **{name: 1.0})


def test_minus_zero_is_zero() -> None:
    own = with_parameters(Recipe("averaging", "ViT-B-32", "base.safetensors", (), {}), alpha="-0")
    assert str(own.parameters["alpha"]) == "0.0"


def test_a_method_may_borrow_anothers_function_and_add_knobs_of_its_own() -> None:
    esm, esmpp = METHODS["esm"], METHODS["esmpp"]
    assert esmpp.merge_layer is esm.merge_layer
    assert (esmpp.static, esm.static) == ("esm", "esm")
    assert set(esmpp.knobs) - set(esm.knobs) == {"expert_rank", "routed"}
    assert all(
        esmpp.knobs[name] is knob and esmpp.defaults[name] == esm.defaults[name] for name, knob in esm.knobs.items()
    )
    assert esmpp.summary != esm.summary


WHOLE = Knob("Count", "", (1, 8, 1), "weights", "Counts.", "n", whole=True)


@pytest.mark.parametrize("value", [3, 3.0, "3", "3e0"])
def test_a_whole_number_is_read_as_one_however_it_is_written(value: Value) -> None:
    found = checked("count", value, WHOLE)
    assert (found, type(found)) == (3, int)


@pytest.mark.parametrize(("value", "said"), [(2.5, "2.5"), ("2.5", "2.5"), (9, "9"), ("many", "'many'")])
def test_what_is_no_whole_number_in_range_is_refused(value: Value, said: str) -> None:
    with says(RecipeError, f"count is {said}, give a whole number from 1 to 8"):
        checked("count", value, WHOLE)
