"""Listings of repositories: what is asked of a hub, what is kept, and what is refused in its answers."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import constants

from esm_viz.core.errors import HubError
from esm_viz.hub.hub_name import parse_name
from esm_viz.hub.repository_listing import RepositoryFile, listing_of
from tests.support.loopback_hub import LoopbackHub

NAME = parse_name("hf://me/some")


def test_a_listing_has_the_commit_and_every_file_with_its_size(hub: LoopbackHub) -> None:
    commit = hub.put("me/some", {"b.bin": b"12345", "a/config.json": b"{}"})
    listing = listing_of(NAME)
    assert listing.commit == commit
    assert listing.files == (RepositoryFile("a/config.json", 2), RepositoryFile("b.bin", 5))


def test_a_commit_is_asked_for_once(hub: LoopbackHub) -> None:
    commit = hub.put("me/some", {"a": b"1"})
    pinned = parse_name(f"hf://me/some@{commit}")
    first = listing_of(pinned)
    hub.forget()
    assert listing_of(pinned) == first
    assert hub.asked == []


def test_a_branch_is_asked_for_each_time_since_it_moves(hub: LoopbackHub) -> None:
    first = hub.put("me/some", {"a": b"1"})
    assert listing_of(NAME).commit == first
    second = hub.put("me/some", {"a": b"2"})
    assert listing_of(NAME).commit == second != first


def test_offline_the_last_listing_of_a_branch_is_used(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put("me/some", {"a": b"1"})
    kept = listing_of(NAME)
    hub.forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert listing_of(NAME) == kept
    assert hub.asked == []
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set and the cache lacks it, hf://me/other, unset it"):
        listing_of(parse_name("hf://me/other"))


def test_without_a_network_the_last_listing_is_used(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put("me/some", {"a": b"1"})
    kept = listing_of(NAME)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    assert listing_of(NAME) == kept
    with pytest.raises(
        HubError, match=r"the hub http://127.0.0.1:1 cannot be reached, hf://me/other, check the network"
    ):
        listing_of(parse_name("hf://me/other"))


def test_where_the_hub_must_not_be_asked_it_is_not(hub: LoopbackHub) -> None:
    hub.put("me/some", {"a": b"1"})
    with pytest.raises(HubError, match="it is not downloaded, hf://me/some"):
        listing_of(NAME, ask=False)
    assert hub.asked == []


def test_a_kept_listing_that_is_damaged_is_asked_for_again(hub: LoopbackHub, tmp_path: Any) -> None:
    commit = hub.put("me/some", {"a": b"1"})
    pinned = parse_name(f"hf://me/some@{commit}")
    first = listing_of(pinned)
    kept = list((tmp_path / "home" / "assets").rglob("*.json"))
    assert kept
    for path in kept:
        path.write_text('{"commit": "no"}')
    assert listing_of(pinned) == first


def test_a_data_sets_card_says_its_splits(hub: LoopbackHub) -> None:
    files = [{"split": "train", "path": "data/train-*"}, {"split": "test", "path": ["data/t-*", "data/u-*"]}, "odd"]
    card = {"configs": [{"config_name": "small", "data_files": files}, {"data_files": "data/*"}, "odd"]}
    hub.put("me/some", {"data/t-0.parquet": b"1"}, kind="datasets", card=card)
    found = listing_of(parse_name("hf://datasets/me/some/train")).splits
    assert [(each.config, each.split, each.pattern) for each in found] == [
        *(("small", "train", "data/train-*"), ("small", "test", "data/t-*"), ("small", "test", "data/u-*")),
    ]


@pytest.mark.parametrize("path", ["../../evil", "/etc/passwd", "a/../../b", "C:/evil", "a\\..\\b", "./a", "a/\x00"])
def test_a_hub_that_names_a_climbing_path_is_refused(hub: LoopbackHub, path: str) -> None:
    hub.put("me/some", {"a": b"1"})
    hub.rewrites["me/some"] = {"siblings": [{"rfilename": path, "size": 1, "blobId": "0"}]}
    with pytest.raises(HubError, match="the hub names a path that leads elsewhere"):
        listing_of(NAME)


@pytest.mark.parametrize(
    "answer", [{"sha": "../../x"}, {"sha": None}, {"siblings": [{"rfilename": "a", "size": "many", "blobId": "0"}]}]
)
def test_an_answer_of_another_form_is_refused(hub: LoopbackHub, answer: dict[str, Any]) -> None:
    hub.put("me/some", {"a": b"1"})
    hub.rewrites["me/some"] = answer
    with pytest.raises(HubError, match="the hub's answer cannot be read"):
        listing_of(NAME)
