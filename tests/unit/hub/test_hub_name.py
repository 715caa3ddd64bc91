"""Names on a hub: what is read, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esm_viz.core.errors import HubError
from esm_viz.hub.hub_name import DatasetName, ModelName, at_commit, parse_dataset, parse_model, parse_name

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf://me/clip", ModelName("me", "clip")),
        ("hf://me/clip@v1.0", ModelName("me", "clip", "v1.0")),
        ("hf://me/clip@refs/pr/12/model.safetensors", ModelName("me", "clip", "refs/pr/12", "model.safetensors")),
        (f"hf://me/clip_x-16@{COMMIT}/a/b.bin", ModelName("me", "clip_x-16", COMMIT, "a/b.bin")),
        ("hf://datasets/me/digits/train", DatasetName("me", "digits", "train")),
        ("hf://datasets/me/digits:small/test", DatasetName("me", "digits", "test", config="small")),
        (
            "hf://datasets/me/digits@refs/convert/parquet:small/test",
            DatasetName("me", "digits", "test", "refs/convert/parquet", "small"),
        ),
    ],
)
def test_a_name_is_read_and_written_again(text: str, name: ModelName | DatasetName) -> None:
    assert parse_name(text) == name
    assert name.written == text


@pytest.mark.parametrize(
    "text",
    [
        *("me/clip", "hf://me", "hf://me/", "hf:///clip", "hf://me/clip/", "hf://me//clip", "hf://me/clip@"),
        *("hf://me/../clip", "hf://me/clip/../../etc/passwd", "hf://../clip", "hf://me/clip/..", "hf://me/cl..ip"),
        *("hf://me/clip/.git/config", "hf://me/clip/a//b", "hf://me/clip/a\\b", "hf://me/clip/a b", "hf://me/clip?x=1"),
        *("hf://me/clip@a/../b", "hf://me/clip%2e", "hf://me/clip\n", "hf://me/clip\x00", "hf://m\u00e9/clip"),
        *("hf://datasets/me/digits", "hf://datasets/me/digits/train/more", "hf://datasets/me/digits:/train"),
        *(
            "hf://spaces/me/app",
            "hf://models/me/clip",
            "hf://me/a--b",
            f"hf://me/{'a' * 600}",
            "hf://me/clip@refs/heads/x",
        ),
    ],
)
def test_what_is_no_name_is_refused_with_the_form_of_one(text: str) -> None:
    with pytest.raises(HubError, match="is no name on a hub, write hf://"):
        parse_name(text)


@given(st.text(max_size=40))
def test_no_name_leads_out_of_its_repository(rest: str) -> None:
    try:
        name = parse_name(f"hf://me/clip{rest}")
    except HubError:
        return
    assert name.written == f"hf://me/clip{rest}"
    assert not any(part in ("", ".", "..") for part in name.written.removeprefix("hf://").split("/"))


def test_a_pinned_name_keeps_what_else_it_says() -> None:
    assert at_commit(parse_name("hf://me/clip@main/a.bin"), COMMIT).written == f"hf://me/clip@{COMMIT}/a.bin"
    pinned = at_commit(parse_name("hf://datasets/me/digits/test"), COMMIT, "small")
    assert pinned.written == f"hf://datasets/me/digits@{COMMIT}:small/test"


def test_a_data_set_is_no_model_and_the_reverse() -> None:
    with pytest.raises(HubError, match="a data set has no weights"):
        parse_model("hf://datasets/me/digits/test")
    with pytest.raises(HubError, match="a model has no images"):
        parse_dataset("hf://me/clip")
