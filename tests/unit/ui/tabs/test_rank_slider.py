"""The rank's knob in the spectrum of Explore."""

from __future__ import annotations

from typing import Any

import pytest

from esm_viz import __version__


def rank_of(piece: dict[str, Any]) -> float:
    return float(piece["figure"]["layout"]["shapes"][0]["x0"])


def test_the_slider_moves_the_rank_of_the_recipe_and_the_line(page: Any) -> None:
    spectrum = page.act("spectrum", do="view", value="energy")["spectrum"]
    knob, before = spectrum["slider"], rank_of(spectrum)
    assert knob["name"] == "rank_ratio"
    assert knob["value"] == page.session.recipe.parameters["rank_ratio"]
    pieces = page.act("spectrum", do="knob", name="rank_ratio", value=0.4)
    assert page.session.recipe.parameters["rank_ratio"] == 0.4
    assert rank_of(pieces["spectrum"]) < before
    assert "map" not in pieces  # follows when the hand is off the slider
    pieces = page.act("spectrum", do="knob", name="rank_ratio", value=0.5, rest=True)
    assert {"map", "overlap", "angles"} <= pieces.keys()
    page.rest()


def test_a_rank_that_is_not_there_is_one_sentence_beside_the_slider(page: Any) -> None:
    piece = page.act("spectrum", do="knob", name="rank_ratio", value=0.01)["spectrum"]
    assert piece["error"].startswith("rank_ratio 0.01 leaves r = 0")
    assert (piece["slider"]["value"], piece["slider"]["least"]) == (0.01, 0.01)
    page.act("rail", do="reset")
    page.rest()


def test_the_slider_begins_at_the_least_rank_that_fits_the_tower(page: Any) -> None:
    slider = page.act("spectrum", do="view", value="energy")["spectrum"]["slider"]
    assert (slider["least"], slider["most"]) == (0.19, 1.0)  # 3 tasks, 16 outputs at the narrowest layer
    knob = next(knob for knob in page.act("rail", do="reset")["rail"]["knobs"] if knob["name"] == "rank_ratio")
    assert knob["least"] == 0.19
    page.rest()
    piece = page.act("spectrum", do="knob", name="rank_ratio", value=slider["least"])["spectrum"]
    assert "error" not in piece
    page.act("rail", do="reset")
    page.rest()


def test_no_picture_says_updating_after_a_refusal(page: Any) -> None:
    page.rest()
    page.call("select", page.tab("Evaluate"), page.id)
    page.rest()
    seen: dict[str, dict[str, Any]] = {}
    call = page.call

    def noted(*arguments: Any, **named: Any) -> Any:
        values = call(*arguments, **named)
        seen.update(page.pieces)
        return values

    page.call = noted
    page.act("spectrum", do="knob", name="rank_ratio", value=0.05, rest=True)
    page.rest()
    page.call("select", page.tab("Evaluate"), page.id)
    page.rest()
    page.call("select", page.tab("Explore"), page.id)
    page.rest()
    page.call("tick", page.studio.parts["bar"], page.id)
    stale = {name: piece.get("stale") for name, piece in seen.items() if piece.get("stale")}
    assert {"accuracy", "interference", "norms"} <= stale.keys()
    assert set(stale.values()) == {"stopped"}
    page.act("rail", do="reset")
    page.rest()


@pytest.mark.parametrize(
    "message", [{"name": "alpha", "value": 0.1}, {"name": "rank_ratio", "value": [1]}, {"name": 3}]
)
def test_no_other_knob_and_no_other_value_is_taken(page: Any, message: dict[str, Any]) -> None:
    before = page.session.recipe
    page.act("spectrum", do="knob", **message)
    assert page.session.recipe == before


def test_a_method_without_a_rank_has_no_slider(page: Any) -> None:
    page.act("rail", do="method", value="averaging")
    page.rest()
    assert page.act("spectrum", do="view", value="energy")["spectrum"]["slider"] is None


def test_every_card_says_which_recipe_and_version_it_shows(page: Any) -> None:
    piece = page.act("map", do="kind", value="norm")["map"]
    assert piece["recipe"] == page.session.project.sha256(page.session.recipe)[:8]
    assert piece["version"] == __version__
