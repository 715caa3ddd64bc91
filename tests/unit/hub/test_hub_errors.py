"""Every way in which a hub can fail is one sentence: what, where, what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from esm_viz.core.errors import HubError
from esm_viz.hub.download_plan import plan_of
from esm_viz.hub.file_download import download
from tests.support.loopback_hub import TOKEN, LoopbackHub, used_here

FILES = {"model.safetensors": b"w" * 20, "config.json": b"{}"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "hf://me/nothing",
            "there is no such repository, or it is private, hf://me/nothing, check the name, or sign in",
        ),
        ("hf://me/hidden", "there is no such repository, or it is private, hf://me/hidden, check the name, or sign in"),
        ("hf://me/gated", "the repository is gated, hf://me/gated, ask for access on its page, then sign in"),
        ("hf://me/open@v2", "the repository has no such revision, hf://me/open@v2, check what follows @"),
    ],
)
def test_what_a_hub_refuses_is_told(hub: LoopbackHub, name: str, sentence: str) -> None:
    hub.put("me/hidden", FILES, needs_token=True)
    hub.put("me/gated", FILES, gated=True)
    hub.put("me/open", FILES)
    with pytest.raises(HubError) as refused:
        plan_of([name])
    assert str(refused.value).startswith(sentence)


def test_a_token_shows_what_is_private(tmp_path: Path) -> None:
    with LoopbackHub() as hub, used_here(hub, tmp_path, TOKEN):
        commit = hub.put("me/hidden", FILES, needs_token=True)
        assert plan_of(["hf://me/hidden"]).names[0].listing.commit == commit


def test_a_wrong_token_is_told(tmp_path: Path) -> None:
    with LoopbackHub() as hub, used_here(hub, tmp_path, "hf_wrong"):
        hub.put("me/open", FILES)
        with pytest.raises(HubError, match="the hub asks for a valid token, hf://me/open, sign in"):
            plan_of(["hf://me/open"])


@pytest.mark.parametrize(("status", "words"), [(429, "asks to wait"), (500, "status 500"), (418, "status 418")])
def test_a_hub_that_does_not_work_is_told(hub: LoopbackHub, status: int, words: str) -> None:
    hub.stranger = status
    with pytest.raises(HubError, match=words):
        plan_of(["hf://me/open"])


def test_redirects_without_an_end_are_told(hub: LoopbackHub) -> None:
    commit = hub.put("me/open", FILES)
    plan = plan_of(["hf://me/open"])
    hub.redirects["config.json"] = f"{hub.endpoint}/me/open/resolve/{commit}/config.json"
    with pytest.raises(HubError, match=r"the hub's redirects have no end, hf://me/open, config.json, check HF_END"):
        download(plan)


def test_what_becomes_gated_before_the_download_is_told(hub: LoopbackHub) -> None:
    hub.put("me/open", FILES)
    plan = plan_of(["hf://me/open"])
    hub.repositories["models/me/open"].gated = True
    with pytest.raises(HubError, match=r"the repository is gated, hf://me/open, config.json, ask for access"):
        download(plan)


def test_an_endpoint_that_is_no_hub_is_told(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.content)
    with pytest.raises(HubError, match="hf://me/open"):
        plan_of(["hf://me/open"])


def test_a_file_that_is_gone_is_told(hub: LoopbackHub) -> None:
    hub.put("me/open", FILES)
    plan = plan_of(["hf://me/open"])
    hub.repositories["models/me/open"].commits[plan.names[0].listing.commit].clear()
    with pytest.raises(HubError, match=r"the repository has no such file, hf://me/open, config.json, check the name"):
        download(plan)
