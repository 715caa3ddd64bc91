"""Commands on recipes of names: huggingface_hub, unchanged, in a process of its own, against a hub of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from esm_viz.cli import main
from esm_viz.core.errors import HubError
from esm_viz.core.recipe import parse_text
from esm_viz.ui.studio_server import build
from tests.hostile import pickles
from tests.support import hub_models
from tests.support.loopback_hub import TOKEN, LoopbackHub, used_here

ROOT = Path(__file__).parents[3]


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """Return a hub that other processes ask by HF_ENDPOINT."""
    with LoopbackHub() as started:
        yield started


def run(hub: LoopbackHub, folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one command with a cache of its own in the folder."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= hub.environment(folder / "home") | variables
    command = [sys.executable, "-m", "esm_viz", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=200)


def write_recipe(hub: LoopbackHub, folder: Path) -> Path:
    hub_models.put_models(hub, folder)
    for at, task in enumerate(hub_models.TASKS):
        hub_models.put_dataset(hub, f"me/{task}", 10 * at)
    path = folder / "recipe.yaml"
    path.write_text(hub_models.recipe_text(folder), encoding="utf-8")
    return path


def test_check_merge_and_merge_again_offline_from_the_exported_recipe(hub: LoopbackHub, tmp_path: Path) -> None:
    recipe = write_recipe(hub, tmp_path)
    checked = run(hub, tmp_path, "check", str(recipe), "--json")
    assert checked.returncode == 0, checked.stderr
    told = json.loads(checked.stdout)
    assert [file["verdict"] for file in told["files"]] == ["ready"] * 3
    assert told["download_bytes"] == sum({name["pinned"]: name["missing_bytes"] for name in told["names"]}.values())
    assert not [each for each in hub.requests("content") if not each.range]

    merged = run(hub, tmp_path, "merge", str(recipe), "--out", str(tmp_path / "out"), "--json")
    assert merged.returncode == 0, merged.stderr
    written = (tmp_path / "out" / "recipe.yaml").read_text(encoding="utf-8")
    assert f"hf://me/tiny-clip@{hub.repositories['models/me/tiny-clip'].revisions['main']}" in written
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert b"hf://me/tiny-clip_ants@" in weights
    for file in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes(), file.name

    hub_models.put_dataset(hub, "me/ants", 99)  # the repository moves, the recipe stays
    hub.forget()
    out = str(tmp_path / "again")
    again = run(
        hub, tmp_path, "merge", str(tmp_path / "out" / "recipe.yaml"), "--out", out, "--json", HF_HUB_OFFLINE="1"
    )
    assert again.returncode == 0, again.stderr
    assert hub.asked == []
    first, second = json.loads(merged.stdout), json.loads(again.stdout)
    assert first["tensors_sha256"] == second["tensors_sha256"]
    assert first["recipe_sha256"] == second["recipe_sha256"]


def test_evaluate_downloads_first_and_a_token_opens_what_is_private(hub: LoopbackHub, tmp_path: Path) -> None:
    recipe = write_recipe(hub, tmp_path)
    hub.repositories["models/me/tiny-clip_ants"].needs_token = True
    refused = run(hub, tmp_path, "evaluate", str(recipe))
    assert refused.returncode == 2
    (sentence,) = [line for line in refused.stderr.splitlines() if line.startswith("error:")]
    assert sentence == (
        "error: there is no such repository, or it is private, hf://me/tiny-clip_ants, check the name, "
        "or sign in with `hf auth login` or set HF_TOKEN"
    )
    evaluated = run(hub, tmp_path, "evaluate", str(recipe), "--json", HF_TOKEN=TOKEN)
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["tasks"]["ants"]["merged"]["n"] == 8
    assert {each.token for each in hub.requests("content")} == {""}
    for text in (refused.stderr, evaluated.stderr, evaluated.stdout):
        assert TOKEN not in text


def test_a_pickle_that_asks_to_run_a_program_is_refused_from_a_hub_too(hub: LoopbackHub, tmp_path: Path) -> None:
    recipe = write_recipe(hub, tmp_path)
    mark = tmp_path / "ran"
    call = pickles.proto(2) + pickles.SYSTEM + b"(" + pickles.word(f"touch {mark}") + b"tR."
    hub.put("me/tiny-clip_ants", {"pytorch_model.bin": pickles.in_zip(call)})
    for command in (("check",), ("merge", "--out", str(tmp_path / "out"))):
        refused = run(hub, tmp_path, command[0], str(recipe), *command[1:])
        assert refused.returncode == 2, refused.stdout
        assert "asks to run" in refused.stderr
    assert not mark.exists()


def test_nothing_is_asked_of_a_hub_by_a_recipe_of_files(hub: LoopbackHub, tmp_path: Path) -> None:
    demo = ROOT / "assets" / "demo" / "recipe.yaml"
    checked = run(hub, tmp_path, "check", str(demo))
    assert checked.returncode == 0, checked.stderr
    assert hub.asked == []


def test_find_writes_the_recipe_of_names_with_their_commits(
    hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.yaml"
    with used_here(hub, tmp_path / "home"):
        hub_models.put_models(hub, tmp_path)
        assert main(["find", hub_models.BASE, f"{hub_models.PREFIX}*", "--out", str(out)]) == 0
        assert not [each for each in hub.requests("content") if not each.range]
        assert main(["find", hub_models.BASE, "--out", str(tmp_path / "none.yaml")]) == 2
    recipe = parse_text(out.read_text(encoding="utf-8"), tmp_path)
    assert recipe.tasks == hub_models.TASKS
    commits = {name: repository.revisions["main"] for name, repository in hub.repositories.items()}
    assert recipe.base == f"hf://{hub_models.BASE}@{commits[f'models/{hub_models.BASE}']}"
    assert str(tmp_path) not in out.read_text(encoding="utf-8")
    assert "is no folder, command line, give one with checkpoints, or names on a hub" in capsys.readouterr().err


def test_a_large_download_needs_a_yes(
    hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(hub, tmp_path)
    monkeypatch.setattr("esm_viz.hub.file_download.CONFIRM_ABOVE", 10_000)
    with used_here(hub, tmp_path / "home"):
        assert main(["evaluate", str(recipe)]) == 2
        assert "are to be downloaded, confirm it with --yes" in capsys.readouterr().err
        assert not [each for each in hub.requests("content") if not each.range]
        assert main(["evaluate", str(recipe), "--yes"]) == 0


def test_the_studio_opens_on_a_recipe_of_names_without_a_request_where_they_are_downloaded(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    recipe = write_recipe(hub, tmp_path)
    with used_here(hub, tmp_path / "home"):
        hub.forget()
        with pytest.raises(HubError, match="it is not downloaded, hf://me/tiny-clip, run `merge` or `evaluate`"):
            build(recipe, "cpu")
        assert hub.asked == []
        assert main(["evaluate", str(recipe)]) == 0
        hub.forget()
        studio = build(recipe, "cpu")
        studio.close()
        assert studio.place.demo.tasks == hub_models.TASKS
        assert hub.asked == []
