"""Downloads: only what is missing, told as progress, cancelled, taken up again, confirmed where they are large."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from esm_viz.core.errors import Cancelled, HubError, Unconfirmed
from esm_viz.core.progress import Progress
from esm_viz.hub import file_download
from esm_viz.hub.download_plan import plan_of
from esm_viz.hub.file_download import download, in_cache
from tests.support import hub_models
from tests.support.loopback_hub import CONTENT, CONVERTED, HUB, TOKEN, LoopbackHub, used_here

LARGE = 25_000_000  # bytes: over two pieces of huggingface_hub's
NAME = "hf://me/some"


def put(hub: LoopbackHub, size: int = 30_000) -> bytes:
    """Put a model on the hub and return its weights."""
    weights = bytes(range(256)) * (size // 256)
    hub.put("me/some", {"model.safetensors": weights, "config.json": b"{}", "README.md": b"no", "run.py": b"no"})
    return weights


def test_only_what_is_needed_is_downloaded_and_only_once(hub: LoopbackHub) -> None:
    weights = put(hub)
    plan = plan_of([NAME])
    assert plan.missing_bytes == len(weights) + 2
    places = download(plan)
    assert places == {plan.names[0].pinned.written: places[plan.names[0].pinned.written]}
    (place,) = places.values()
    assert place.read_bytes() == weights
    assert (place.parent / "config.json").read_bytes() == b"{}"
    assert not hub.requests(path="README.md")
    assert not hub.requests(path="run.py")
    hub.forget()
    again = plan_of([plan.names[0].pinned.written])
    assert again.missing_bytes == 0
    assert download(again) == places == in_cache(again)
    assert hub.asked == []


def test_a_repository_that_moves_stays_at_a_pinned_commit(hub: LoopbackHub) -> None:
    weights = put(hub)
    pinned = plan_of([NAME]).names[0].pinned.written
    hub.put("me/some", {"model.safetensors": b"other", "config.json": b"{}"})
    (place,) = download(plan_of([pinned])).values()
    assert place.read_bytes() == weights


def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(hub: LoopbackHub) -> None:
    weights = put(hub, LARGE)
    hub.breaks["model.safetensors"] = 1
    (place,) = download(plan_of([NAME])).values()
    assert place.read_bytes() == weights
    first, second = [each for each in hub.requests(CONTENT, "model.safetensors") if each.method == "GET"]
    start = int(second.range.removeprefix("bytes=").partition("-")[0])
    assert 0 < start <= first.size
    assert second.size == len(weights) - start


def test_a_download_that_keeps_breaking_off_is_one_sentence(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    put(hub)
    hub.breaks["model.safetensors"] = 1000
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with pytest.raises(HubError, match=r"the connection broke off, hf://me/some, model.safetensors, try again"):
        download(plan_of([NAME]))
    hub.breaks.clear()
    download(plan_of([NAME]))


def test_progress_counts_bytes_and_ends_at_one(hub: LoopbackHub) -> None:
    put(hub, LARGE)
    told: list[tuple[float, str]] = []
    download(plan_of([NAME]), progress=Progress(lambda share, words: told.append((share, words))))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert shares[-1] == 1.0
    assert any("downloading me/some, 10 of 25 MB" in words for _, words in told)


def test_a_cancelled_download_leaves_nothing_half_made(hub: LoopbackHub, tmp_path: Path) -> None:
    put(hub, LARGE)

    def stop(share: float, words: str) -> None:
        if share > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        download(plan_of([NAME]), progress=Progress(stop))
    assert plan_of([NAME]).missing_bytes == LARGE // 256 * 256
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.stat().st_size > 1_000_000]


def test_a_large_download_must_be_confirmed_and_says_its_size(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = put(hub)
    monkeypatch.setattr(file_download, "CONFIRM_ABOVE", 10_000)
    plan = plan_of([NAME])
    hub.forget()
    with pytest.raises(Unconfirmed, match="are to be downloaded, confirm it with --yes") as refused:
        download(plan)
    assert refused.value.size == len(weights) + 2
    assert hub.asked == []
    download(plan, confirmed=True)
    download(plan)  # nothing is missing any more


def test_one_gigabyte_is_the_limit() -> None:
    file_download.expect_confirmed(1_000_000_000, confirmed=False)
    with pytest.raises(Unconfirmed, match=r"1\.0 GB are to be downloaded"):
        file_download.expect_confirmed(1_000_000_001, confirmed=False)


def test_a_full_disk_is_told_before_the_download(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    put(hub)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    plan = plan_of([NAME])
    hub.forget()
    with pytest.raises(HubError, match="the disk of the cache has under 1 MB left, free some, or set HF_HOME"):
        download(plan)
    assert hub.asked == []


def test_the_token_is_sent_to_the_hub_alone(tmp_path: Path) -> None:
    with LoopbackHub() as hub, used_here(hub, tmp_path, TOKEN):
        put(hub)
        download(plan_of([NAME]))
        assert {each.token for each in hub.requests(HUB, "/me/some")} == {TOKEN}
        content = hub.requests(CONTENT)
        assert content
        assert {each.token for each in content} == {""}


def test_a_redirect_to_another_hub_gets_no_token(tmp_path: Path) -> None:
    with LoopbackHub() as hub, LoopbackHub() as other, used_here(hub, tmp_path, TOKEN):
        weights = put(hub)
        hub.redirects["model.safetensors"] = f"{other.endpoint}/me/some/resolve/main/model.safetensors"
        other.put("me/some", {"model.safetensors": weights})
        download(plan_of([NAME]))
        assert {each.token for each in other.asked} == {""}


@pytest.mark.parametrize("revision", ["main", CONVERTED])
def test_the_tables_of_one_split_get_a_folder_of_their_own(hub: LoopbackHub, revision: str) -> None:
    tables = [hub_models.table(at) for at in range(3)]
    named = ["data/train-0.parquet", "data/train-1.parquet", "data/test-0.parquet"]
    if revision == CONVERTED:
        hub.put("me/pictures", {"pictures.zip": b"z"}, kind="datasets")
        named = ["default/train/0000.parquet", "default/train/0001.parquet", "default/test/0000.parquet"]
    hub.put("me/pictures", dict(zip(named, tables, strict=True)), kind="datasets", revision=revision)
    train, test = (f"hf://datasets/me/pictures/{split}" for split in ("train", "test"))
    plan = plan_of([train, test])
    folders = list(download(plan).values())
    held = [[path.read_bytes() for path in sorted(folder.iterdir())] for folder in folders]
    assert held == [tables[:2], tables[2:]]
    hub.forget()
    assert list(download(plan_of([name.pinned.written for name in plan.names])).values()) == folders
    assert hub.asked == []


def test_a_data_set_without_parquet_anywhere_is_refused(hub: LoopbackHub) -> None:
    hub.put("me/pictures", {"pictures.zip": b"z"}, kind="datasets")
    with pytest.raises(HubError, match="holds no parquet files, and the hub has none at refs/convert/parquet"):
        plan_of(["hf://datasets/me/pictures/train"])


def test_tables_that_left_the_cache_are_linked_again(hub: LoopbackHub, tmp_path: Path) -> None:
    hub_models.put_dataset(hub, "me/pictures", 1)
    name = "hf://datasets/me/pictures/train"
    (folder,) = download(plan_of([name])).values()
    before = next(folder.iterdir()).read_bytes()
    shutil.rmtree(tmp_path / "home" / "hub")
    (again,) = download(plan_of([name])).values()
    assert next(again.iterdir()).read_bytes() == before


def test_what_is_not_in_the_cache_is_told(hub: LoopbackHub) -> None:
    put(hub)
    with pytest.raises(HubError, match="it is not downloaded, hf://me/some, run `merge`"):
        in_cache(plan_of([NAME]))
