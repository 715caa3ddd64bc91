"""Recipes as an enemy would write them, through the library, the command line and the upload."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esm_viz.core.errors import EsmVizError, RecipeError, one_line
from esm_viz.core.recipe import Recipe, parse_mapping, parse_text
from esm_viz.merge import METHODS
from tests.hostile import recipes
from tests.hostile.bench import Bench, check, library, raw_recipe, upload

GROUPS = {
    "wrong types": [*recipes.wrong_types()],
    "strange keys": [*recipes.strange_keys()],
    "paths": [*recipes.paths()],
    "architectures": [*recipes.architectures()],
    "texts": [*recipes.texts()],
    "knobs": [*recipes.knobs()],
}


@pytest.mark.parametrize("group", GROUPS)
def test_the_library_refuses(bench: Bench, group: str) -> None:
    bench.refuses(GROUPS[group], library)


@pytest.mark.parametrize("group", GROUPS)
def test_the_command_line_refuses(bench: Bench, group: str) -> None:
    bench.refuses(GROUPS[group][::3] if group == "knobs" else GROUPS[group], check)


def test_an_upload_cannot_lead_out_of_itself(bench: Bench) -> None:
    bench.refuses([*recipes.outside()], upload)


@pytest.mark.parametrize("group", GROUPS)
def test_an_upload_refuses(bench: Bench, group: str) -> None:
    bench.refuses(GROUPS[group][::7] if group == "knobs" else GROUPS[group], upload)


def test_every_knob_of_every_method_is_tried() -> None:
    tried = {case.name.partition(" ")[0] for case in GROUPS["knobs"]}
    assert {f"{name}.{knob}" for name, method in METHODS.items() for knob in method.knobs} <= tried


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5)
ANYTHING = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LEAF, inner, max_size=3), max_leaves=6
)
KEYS = st.sampled_from(["merge_method", "arch", "base_model", "models", "parameters", "dtype", "seed", "other"])


@given(st.dictionaries(KEYS, ANYTHING, max_size=4), st.dictionaries(st.text(max_size=8), ANYTHING, max_size=3))
@settings(max_examples=150)
def test_any_mapping_is_a_recipe_or_refused(changes: dict[str, object], model: dict[str, object]) -> None:
    raw = raw_recipe()
    raw["models"][0].update(model)
    refused_or_whole(lambda: parse_mapping({**raw, **changes}, Path()))


@given(st.text(max_size=200) | st.text("[]{}:,&*!|>?-'\"%@`#\n a1", max_size=60))
@settings(max_examples=150)
def test_any_text_is_a_recipe_or_refused(text: str) -> None:
    refused_or_whole(lambda: parse_text(text, Path()))


def refused_or_whole(read: object) -> None:
    assert callable(read)
    said = ""
    try:
        assert isinstance(read(), Recipe)
    except RecipeError as error:
        said = str(error)
    assert said.isprintable()


@given(st.text(max_size=40), st.text(max_size=2000), st.text(max_size=40))
def test_any_sentence_is_one_printable_line_of_bounded_length(what: str, remedy: str, where: str) -> None:
    said = str(EsmVizError(what, remedy, where))
    assert said.isprintable()
    assert len(said.splitlines()) <= 1
    assert len(said) < 12_000


@pytest.mark.parametrize("text", ["αβγ", "naïve café", "日本語", "½ × 2 – 3", "🐜"])
def test_words_of_every_language_are_left_as_they_are(text: str) -> None:
    assert one_line(text) == text
