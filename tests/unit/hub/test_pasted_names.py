"""Names as people paste them."""

from __future__ import annotations

import pytest

from esm_viz.core.errors import HubError
from esm_viz.hub.pasted_names import pasted_model, pasted_models
from tests.support.loopback_hub import LoopbackHub

HUB_PAGE = "https://hf.co"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("me/clip", "hf://me/clip"),
        (" hf://me/clip@v1 ", "hf://me/clip@v1"),
        (f"{HUB_PAGE}/me/clip", "hf://me/clip"),
        (f"{HUB_PAGE}/me/clip/tree/v1?x=1", "hf://me/clip@v1"),
        (f"{HUB_PAGE}/me/clip/blob/main/a/b.safetensors", "hf://me/clip@main/a/b.safetensors"),
        (f"{HUB_PAGE}/me/clip/tree/refs%2Fpr%2F1", "hf://me/clip@refs/pr/1"),
    ],
)
def test_a_name_or_a_link_is_read(text: str, written: str) -> None:
    assert pasted_model(text).written == written


@pytest.mark.parametrize(
    "text",
    [
        "clip",
        "https://example.org/me/clip",
        "file:///etc/passwd",
        f"{HUB_PAGE}/me/../clip",
        "me/clip/..",
        "javascript://hf.co/a/b",
    ],
)
def test_other_addresses_and_climbing_paths_are_refused(text: str) -> None:
    with pytest.raises(HubError):
        pasted_model(text)


def test_lines_give_models_and_their_images() -> None:
    found = pasted_models(
        "# mine\nme/a proxies=me/data/train test=hf://datasets/me/data:big/test\n\nme/b # two\nme/a\n"
    )
    assert [model.name.written for model in found] == ["hf://me/a", "hf://me/b"]
    assert found[0].images == {"proxies": "hf://datasets/me/data/train", "test": "hf://datasets/me/data:big/test"}
    assert found[1].images == {}


def test_a_pattern_stands_for_the_models_of_an_owner_that_fit(hub: LoopbackHub) -> None:
    for name in ("me/clip_b", "me/clip_a", "me/clip", "me/other_a", "you/clip_a"):
        hub.put(name, {"a": b"1"})
    assert [model.name.written for model in pasted_models("me/clip_*")] == ["hf://me/clip_a", "hf://me/clip_b"]
    with pytest.raises(HubError, match="no model fits this pattern, me/no_"):
        pasted_models("me/no_*")


@pytest.mark.parametrize(
    "text", ["", "# nothing", "*/clip", "me/cl ip", "me/a test=/etc/passwd", "me/a data=me/b/train", "x" * 30_000]
)
def test_what_cannot_be_read_is_refused(hub: LoopbackHub, text: str) -> None:
    with pytest.raises(HubError):
        pasted_models(text)
    assert hub.asked == []


def test_too_many_names_are_refused() -> None:
    with pytest.raises(HubError, match="there are 65 names, give 1 to 64 models"):
        pasted_models("\n".join(f"me/m{at}" for at in range(65)))
