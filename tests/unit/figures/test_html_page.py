"""The page that leaves the studio: all of it inside one file, and nothing in it can break out of its place."""

from __future__ import annotations

import json
import re
from typing import Any

from esm_viz.figures.figure_parts import picture
from esm_viz.figures.html_page import Picture, html_page, pictures_page, section

ATTACK = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def drawn(columns: int = 0, name: str = "") -> dict[str, Any]:
    return picture(
        [{"type": "scatter", "x": [1.0, float("nan")], "y": [1, 2], "name": name}], "How.", "Says.", (columns, 2)
    )


def shown(page: str) -> list[dict[str, Any]]:
    """Return what the page's cards are given."""
    found = re.search(r'<script type="application/json" id="pictures">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_each_picture_is_the_card_it_was_with_its_title_and_sentence() -> None:
    pictures = [Picture("one", "First <b>x</b>", drawn()), Picture("two", "Second", drawn(), how="Another sentence.")]
    first, second = shown(pictures_page("Title", "Said.", pictures))
    assert (first["name"], first["title"], "how" in first) == ("one", "First <b>x</b>", False)
    assert second["how"] == "Another sentence."
    assert first["figure"]["data"][0]["x"] == [1.0, None]
    assert first["figure"]["layout"]["meta"]["how"] == "How."


def test_nothing_in_a_name_a_title_or_a_figure_ends_the_place_it_stands_in() -> None:
    page = html_page(ATTACK, [section(ATTACK, ATTACK, "<p>mine</p>"), Picture("one", "x", drawn(name=ATTACK))])
    scripts = page.count("<script")
    assert scripts == html_page("x", [section("x", "x", ""), Picture("one", "x", drawn())]).count("<script")
    assert "<img src=x" not in page
    assert shown(page)[0]["figure"]["data"][0]["name"] == ATTACK


def test_the_page_asks_nobody_for_anything() -> None:
    page = pictures_page("Title", "Said.", [Picture("one", "First", drawn())])
    outside = page.replace(
        page[page.index("<script>") : page.rindex("</script>")], ""
    )  # plotly names sites it may link to
    assert not re.findall(r"""(?:src|href)=["']?(?!data:)[^"' >]+""", outside)
    assert not re.findall(r"url\((?!data:)", outside)
    assert "default-src 'none'" in page


def test_a_picture_with_many_columns_has_the_whole_width() -> None:
    page = html_page("x", [Picture("map", "x", drawn(24)), Picture("small", "x", drawn())])
    assert '<div class="picture wide" id="card-map"' in page
    assert '<div class="picture" id="card-small"' in page
