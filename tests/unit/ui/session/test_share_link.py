"""The share link: what it says, what comes back, and what it refuses."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import urlencode

import pytest

from esm_viz import with_parameters
from esm_viz.core.errors import RecipeError
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.session import share_link
from esm_viz.ui.session.share_link import Link, Merge
from esm_viz.ui.session.task_weight import with_weight
from tests.support import tiny
from tests.support.errors import says
from tests.unit.ui.conftest import Page

WHOLE = Link(
    project="Demo",
    files="0123456789abcdef",
    merge=Merge("esm", {"alpha": 0.7, "alpha_scope": "essential"}, {"bees": 1.5}),
    pinned=Merge("ties", {"keep": 0.5}, {}),
    views={"kind": "norm", "view": "lambda"},
    cell=("bees", tiny.C_FC),
    pair=("ants", "cats"),
)


def query(state: object, **more: str) -> str:
    text = state if isinstance(state, str) else json.dumps(state)
    return "?" + urlencode({"state": text, **more})


def words(page: Page) -> dict[str, Any]:
    """Return the link of a page as plain words."""
    return json.loads(share_link.write(share_link.link_of(page.session)))


def test_a_link_comes_back_whole() -> None:
    assert share_link.read(share_link.write(WHOLE)) == WHOLE


def test_a_link_holds_only_what_differs_from_the_defaults(page: Page) -> None:
    page.act("rail", do="method", value="ties")
    told = words(page)
    assert told.keys() <= {"project", "files", "method", "cell", "pair"}
    page.act("rail", do="knob", name="keep", value=0.5)
    assert words(page)["knobs"] == {"keep": 0.5}


def test_a_link_names_no_file(page: Page) -> None:
    text = share_link.write(share_link.link_of(page.session))
    assert not any(path in text for path in page.session.recipe.paths)
    assert str(page.session.recipe.folder) not in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"words"',
        "[" * 20_000,
        '{"project":"' + "x" * share_link.LONGEST + '"}',
        '{"project":"a","files":"b","method":"esm","knobs":{"alpha":NaN}}',
        '{"project":"a","files":"b","method":"esm","knobs":{"alpha":1e400}}',
        '{"project":"a","files":"b","method":"esm","knobs":{"alpha":' + "9" * 5000 + "}}",
        '{"project":"a","files":"b","method":"esm","knobs":{"alpha":true}}',
        '{"project":"a","files":"b","method":"esm","knobs":{"alpha":{"a":{"a":1}}}}',
        '{"project":"a","files":"b","method":"esm","knobs":[1]}',
        '{"project":"a","files":"b","method":"esm","weights":{"ants":"1"}}',
        '{"project":"a","files":"b","method":["esm"]}',
        '{"project":"a","files":"b","method":"esm","cell":"x"}',
        '{"project":"a","files":"b","method":"esm","cell":["x",7]}',
        '{"project":"a","files":"b","method":"esm","pair":["x","y","z"]}',
        '{"project":"a","files":"b","method":"esm","A":7}',
        '{"project":"a","files":"b","method":"esm","__class__":"x"}',
        '{"project":"a\\u0000","files":"b","method":"esm"}',
        '{"files":"b","method":"esm"}',
    ],
)
def test_what_is_no_link_of_ours_is_one_sentence(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^This link cannot be used: [\w ]+, ask for a new one$"):
        share_link.read(text)


@pytest.mark.parametrize(
    ("merge", "sentence"),
    [
        (Merge("esm", {"alpha": 9}, {}), "alpha is 9, give a number from 0 to 3 or the word search"),
        (Merge("esm", {"alpha": "search"}, {}), "alpha is 'search' in this link, use the button that searches it"),
        (Merge("esm", {}, {"ants": 5.0}), "the weight of ants is 5, give a number from 0 to 2"),
        (Merge("esm", {}, {"nobody": 1.0}), "there is no task 'nobody', use ants, bees, cats"),
    ],
)
def test_a_value_out_of_range_is_refused_as_the_rail_refuses_it(page: Page, merge: Merge, sentence: str) -> None:
    with says(RecipeError, sentence):
        merge.on(page.session.project.recipe)


def test_a_merge_written_and_read_is_the_same_recipe(page: Page) -> None:
    recipe = with_weight(with_parameters(page.session.recipe, alpha=0.3, rank_ratio=0.5), "bees", 1.5)
    assert share_link.merge_of(recipe).on(page.session.project.recipe) == recipe


def test_a_link_restores_method_knobs_weights_selection_views_and_a(studio: Studio) -> None:
    one = Page(studio)
    one.act("rail", do="method", value="ties")
    one.act("rail", do="knob", name="keep", value=0.4)
    one.rest()
    one.act("stats", do="pin")
    one.act("rail", do="method", value="esm")
    one.act("rail", do="knob", name="task_exponent", value=1.2)
    one.act("rail", do="weight", name="cats", value=0.5)
    one.act("map", do="kind", value="norm")
    one.act("map", do="cell", data=["bees", tiny.C_PROJ])
    one.act("overlap", do="pair", data=["ants", "cats"])
    one.rest()
    other = Page(studio, query=query(words(one), tab="Merge"))
    other.rest()
    assert other.id != one.id
    assert other.session.recipe == one.session.recipe
    assert other.session.view == one.session.view
    assert other.session.pinned.recipe == one.session.pinned.recipe
    assert other.session.pinned.evaluation.tasks == one.session.pinned.evaluation.tasks
    assert other.pieces["map"]["chosen"] == "norm"
    assert not other.session.errors


def test_a_link_to_other_files_says_which_project_it_is_for_and_the_page_opens(studio: Studio) -> None:
    state = {"project": "Birds <i>", "files": "0" * 16, "method": "ties"}
    page = Page(studio, query=query(state))
    assert "This link is for Birds &lt;i&gt;, this page has tiny open" in page.pieces["bar"]["html"]
    assert page.session.recipe == studio.first.recipe
    assert page.pieces["map"]["figure"]["data"]
    assert "This link" not in page.act("map", do="kind", value="norm")["bar"]["html"]


@pytest.mark.parametrize(
    "change",
    [
        {"method": "magic"},
        {"knobs": {"alpha": 9}},
        {"knobs": {"__class__": 1}},
        {"weights": {"ants": math.pi}},
        {"cell": ["bees", "no.such.layer"]},
        {"cell": ["nobody", tiny.C_FC]},
        {"pair": ["ants", "ants"]},
        {"map": "magic"},
        {"direction": "99"},
        {"A": {"method": "magic"}},
    ],
)
def test_a_hand_made_link_changes_nothing_and_says_why(studio: Studio, change: dict[str, Any]) -> None:
    plain = Page(studio)
    page = Page(studio, query=query({**words(plain), "map": "norm", **change}))
    assert page.session.recipe == studio.first.recipe
    assert page.session.view == plain.session.view
    assert 'class="notice"' in page.pieces["bar"]["html"]
    assert page.pieces["map"]["figure"]["data"]


def test_a_link_can_be_undone(studio: Studio) -> None:
    page = Page(studio)
    page.rest()
    link = words(page) | {"knobs": {"alpha": 0.21}}
    again = Page(studio, known=page.id, query=query(link))
    again.rest()
    assert again.session.recipe.parameters["alpha"] == 0.21
    again.act("bar", do="undo")
    assert again.session.recipe == studio.first.recipe
