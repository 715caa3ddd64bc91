"""Names on a hub in Load: judged by headers, downloaded when asked, opened; and refused where visitors may not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from esm_viz.core.errors import HubError
from esm_viz.ui.page import session_restore
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.server.server_address import Site
from esm_viz.ui.session.session_archive import NAMES, ArchivedSession
from esm_viz.ui.studio_server import may_download
from esm_viz.ui.tabs.load import load_steps, load_tab, names_form
from tests.support import hub_models
from tests.support.loopback_hub import LoopbackHub, used_here
from tests.unit.ui.conftest import Page

MODELS = "\n".join(
    f"{hub_models.PREFIX}{task} proxies=me/{task}/train validation=me/{task}/train" for task in hub_models.TASKS
)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """Return a hub with models and images that this process asks."""
    with LoopbackHub() as started, used_here(started, tmp_path / "home"):
        (tmp_path / "own").mkdir()
        hub_models.put_models(started, tmp_path / "own")
        for at, task in enumerate(hub_models.TASKS):
            hub_models.put_dataset(started, f"me/{task}", 10 * at)
        yield started


@pytest.fixture
def visitor(studio: Studio, hub: LoopbackHub) -> Iterator[Page]:
    """Return a page of a studio whose visitors may make it download."""
    before = studio.place
    page = Page(studio)
    page.session.place = dataclasses.replace(before, hub=True)
    yield page
    page.session.place = before


def pieces(text: str) -> list[str]:
    return [text[at : at + 300] for at in range(0, len(text), 300)]


def named(page: Page, base: str = hub_models.BASE, models: str = MODELS) -> str:
    """Type names, wait for verdicts, and return the button's card."""
    page.act("source", do="source", value="names")
    page.act("source", do="names", base=pieces(base), models=pieces(models))
    page.rest()
    return page.act("cost", do="nothing")["cost"]["html"]


def test_names_are_judged_by_headers_then_downloaded_then_opened(visitor: Page, hub: LoopbackHub) -> None:
    html = named(visitor)
    candidate = visitor.session.candidate
    assert candidate is not None, visitor.session.errors
    assert [model.verdict.stance for model in candidate.judgement.models] == ["ready"] * 3
    assert not [each for each in hub.requests("content") if not each.range]
    assert "Download under 1 MB" in html
    assert 'data-do="decompose"' not in html
    assert "To download: under 1 MB." in visitor.act("source", do="nothing")["source"]["html"]
    visitor.act("cost", do="download")
    visitor.rest()
    candidate = visitor.session.candidate
    assert candidate.missing == 0
    assert candidate.judgement.experts[0].proxies == 8
    assert len(candidate.thumbs["ants"]) == 3
    visitor.act("cost", do="decompose")
    visitor.rest()
    assert visitor.session.project.tasks == hub_models.TASKS
    assert visitor.session.project.recipe.paths == ()
    assert "@" in visitor.session.recipe.to_yaml()


def test_a_task_that_is_left_out_is_not_downloaded(visitor: Page, hub: LoopbackHub) -> None:
    named(visitor)
    visitor.act("found", do="leave", name="bees")
    visitor.act("cost", do="download")
    visitor.rest()
    assert not [each for each in hub.requests("content", "model.safetensors") if not each.range and "bees" in each.path]
    assert visitor.session.candidate.left_out == {"bees"}
    assert visitor.session.candidate.missing == 0
    visitor.act("found", do="take", name="bees")
    assert visitor.session.candidate.missing > 0


def test_a_large_download_is_asked_about_first(
    visitor: Page, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_steps, "CONFIRM_ABOVE", 1000)
    named(visitor)
    hub.forget()
    assert "Yes, download" in visitor.act("cost", do="download")["cost"]["html"]
    assert hub.asked == []
    visitor.act("cost", do="download")
    visitor.rest()
    assert visitor.session.candidate.missing == 0


def test_what_is_wrong_with_a_name_is_one_sentence_and_the_form_keeps_what_was_typed(visitor: Page) -> None:
    named(visitor, models="me/nothing")
    html = visitor.act("source", do="nothing")["source"]["html"]
    assert "there is no such repository, or it is private, hf://me/nothing, check the name" in html
    assert "me/nothing</textarea>" in html
    named(visitor, base="<b>me</b>/x")
    html = visitor.act("source", do="nothing")["source"]["html"]
    assert "<b>me" not in html
    assert "is no name on a hub" in html


def test_where_visitors_may_not_no_message_reaches_a_hub(page: Page, hub: LoopbackHub) -> None:
    assert "Names" not in page.act("source", do="source", value="names")["source"]["html"]
    page.act("source", do="names", base=[hub_models.BASE], models=pieces(MODELS))
    page.act("cost", do="download")
    page.rest()
    assert page.session.candidate is None
    assert hub.asked == []


def test_a_recipe_of_names_in_an_upload_is_no_way_around(page: Page, hub: LoopbackHub, tmp_path: Path) -> None:
    text = hub_models.recipe_text(tmp_path).replace("models:", "arch: ViT-B-32\nmodels:")
    lines = [line for line in text.splitlines() if "head:" not in line]
    (tmp_path / "recipe.yaml").write_text("\n".join(lines))
    load_tab.receive(page.session, [str(tmp_path / "recipe.yaml")])
    page.rest()
    assert "this studio downloads nothing for its visitors" in page.session.errors["load"]
    assert page.session.candidate is None
    assert hub.asked == []


def test_a_project_of_names_comes_back_after_a_restart_without_a_request(
    visitor: Page, studio: Studio, hub: LoopbackHub
) -> None:
    named(visitor)
    visitor.act("cost", do="download")
    visitor.rest()
    visitor.act("cost", do="decompose")
    visitor.rest()
    kept = ArchivedSession.read(ArchivedSession.of(visitor.session).write())
    assert kept.source == NAMES
    hub.forget()
    again = Page(studio)
    again.session.place = visitor.session.place
    session_restore.bring_back(again.session, kept)
    again.rest()
    assert again.session.lost is None
    assert again.session.project.tasks == hub_models.TASKS
    assert hub.asked == []
    strange = Page(studio)
    session_restore.bring_back(strange.session, kept)
    assert "downloads nothing" in strange.session.lost.words


def test_nothing_is_asked_of_a_hub_when_a_page_opens_or_the_form_is_shown(visitor: Page, hub: LoopbackHub) -> None:
    hub.forget()
    Page(visitor.studio)
    for tab in ("Explore", "Load", "Merge", "Evaluate", "Export"):
        visitor.tab(tab)
    visitor.act("source", do="source", value="names")
    visitor.act("source", do="source", value="demo")
    visitor.rest()
    assert hub.asked == []


@pytest.mark.parametrize(
    ("site", "asked", "allowed"),
    [
        (Site("127.0.0.1", 7860), None, True),
        (Site("localhost", 7860), None, True),
        (Site("0.0.0.0", 7860), None, False),
        (Site("192.168.0.7", 7860), None, False),
        (Site("127.0.0.1", 7860, shared=True), None, False),
        (Site("127.0.0.1", 7860, "https://studio.example.org"), None, False),
        (Site("0.0.0.0", 7860), True, True),
        (Site("127.0.0.1", 7860), False, False),
    ],
)
def test_visitors_of_this_machine_alone_may_unless_it_is_said(site: Site, asked: bool | None, allowed: bool) -> None:
    assert may_download(site, asked) is allowed


def test_a_message_holds_the_fields_in_pieces() -> None:
    assert names_form.typed({"base": ["ab", "c", 3]}, "base") == "abc"
    assert names_form.typed({"base": "abc"}, "base") == names_form.typed({}, "base") == ""


def test_a_studio_of_others_says_who_may(page: Page) -> None:
    with pytest.raises(
        HubError, match="this studio downloads nothing for its visitors, ask who runs it for --allow-hub"
    ):
        load_steps.expect_hub(page.session)
