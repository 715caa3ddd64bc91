"""Uploads: an export becomes a repository that can be read again, private where nothing else is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from esm_viz.cli import main
from esm_viz.core.errors import HubError
from esm_viz.hub.download_plan import plan_of
from esm_viz.hub.file_download import download
from esm_viz.hub.folder_upload import upload
from tests.support import tiny
from tests.support.loopback_hub import TOKEN, LoopbackHub, used_here

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    """Return a hub on which we are signed in."""
    with LoopbackHub() as started, used_here(started, tmp_path / "home", TOKEN):
        yield started


@pytest.fixture(scope="module")
def export(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an exported folder."""
    from esm_viz.project.project import Project

    folder = tmp_path_factory.mktemp("exported") / "out"
    recipe = tiny.recipe(tiny_folder)
    Project.open(recipe, device="cpu").export(recipe, folder)
    (folder / ".secret.json").write_text("{}")
    (folder / "notes.pdf").write_bytes(b"%PDF")
    return folder


def test_an_export_is_uploaded_and_read_again(hub: LoopbackHub, export: Path) -> None:
    done = upload(export, "me/merged")
    assert done.private
    assert hub.repositories["models/me/merged"].private
    assert set(done.files) == {"README.md", "model.safetensors", "recipe.yaml"}
    kept = hub.repositories["models/me/merged"]
    files = kept.commits[kept.revisions["main"]]
    assert files == {name: (export / name).read_bytes() for name in done.files}
    (place,) = download(plan_of([done.name])).values()
    assert load_file(place).keys() == load_file(export / "model.safetensors").keys()


def test_large_files_go_to_the_content_server_without_the_token(hub: LoopbackHub, export: Path) -> None:
    upload(export, "me/merged")
    put = [each for each in hub.requests("content") if each.method == "PUT"]
    assert len(put) == 1
    assert put[0].token == ""


def test_it_is_public_where_that_is_asked_for(hub: LoopbackHub, export: Path) -> None:
    assert not upload(export, "me/open", public=True).private
    with pytest.raises(HubError, match="the repository is public, hf://me/open, give --public"):
        upload(export, "me/open")


@pytest.mark.parametrize(
    "name", ["merged", "me/../merged", "me/merged@main", "me/merged/file.bin", "datasets/me/x/train"]
)
def test_what_is_no_repository_is_refused_before_a_request(hub: LoopbackHub, export: Path, name: str) -> None:
    with pytest.raises(HubError):
        upload(export, name)
    assert hub.asked == []


def test_what_is_no_export_is_refused_before_a_request(hub: LoopbackHub, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((tiny_folder / "base.safetensors").read_bytes())
    for folder in (tiny_folder, tmp_path):
        with pytest.raises(HubError, match="the folder is no export"):
            upload(folder, "me/merged")
    assert hub.asked == []


def test_a_link_out_of_the_folder_is_refused(hub: LoopbackHub, export: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("README.md", "model.safetensors", "recipe.yaml"):
        (folder / name).write_bytes((export / name).read_bytes())
    (tmp_path / "private.txt").write_text("secret")
    (folder / "more.txt").symlink_to(tmp_path / "private.txt")
    with pytest.raises(HubError, match=r"more.txt leads out of the folder"):
        upload(folder, "me/merged")
    assert hub.asked == []


def test_without_a_token_it_says_how_to_sign_in(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LoopbackHub() as hub, used_here(hub, tmp_path):
        assert main(["push", str(export), "me/merged"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: the hub asks for a valid token, hf://me/merged, sign in with `hf auth login` or set HF_TOKEN"
    )


def test_the_command_says_where_it_is(hub: LoopbackHub, export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(export), "me/merged"]) == 0
    out = capsys.readouterr().out
    assert "private" in out
    assert f"{hub.endpoint}/me/merged" in out


def test_a_content_server_that_refuses_is_one_sentence(
    hub: LoopbackHub, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.refuses_uploads = True
    with pytest.raises(HubError, match="the hub does not allow this, hf://me/merged, use a token with the rights"):
        upload(export, "me/merged")
    assert hub.repositories["models/me/merged"].commits.keys() == {
        hub.repositories["models/me/merged"].revisions["main"]
    }
