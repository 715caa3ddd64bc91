"""What a restart leaves of a session: what comes back, what is told to be gone, and what is ignored."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from esm_viz.core.errors import RecipeError
from esm_viz.core.recipe import sha256_text
from esm_viz.project.project import Project
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.server import temporary_folders
from esm_viz.ui.session import session_archive
from esm_viz.ui.session.session_archive import ArchivedSession, SessionArchive, private
from esm_viz.ui.session.session_store import GRACE_SECONDS, LostProject, Store
from tests.support import tiny
from tests.support.errors import says
from tests.unit.ui.conftest import Page

Serve = Callable[..., Studio]


@pytest.fixture(scope="module")
def demo(folder: Path) -> Project:
    project = Project.open(tiny.recipe(folder), device="cpu")
    project.prepare()
    return project


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return private(tmp_path / "state")


@pytest.fixture
def serve(demo: Project, state: Path) -> Iterator[Serve]:
    """Return what starts a server on the state folder; nothing is written but where a test says so, by `killed`."""
    made = []

    def start(folder: Path | None = None, project: Project = demo, name: str = "tiny") -> Studio:
        made.append(Studio(project, name, "cpu", folder, state=state))
        return made[-1]

    yield start
    for studio in made:
        studio.close()


def team(folder: Path, place: Path) -> Path:
    """Return a folder that may be allowed, with one project, of two of the opening project's tasks."""
    shutil.copytree(folder, place / "team")
    raw = tiny.mapping()
    raw["models"] = raw["models"][:2]
    (place / "team" / "recipe.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return place


@pytest.fixture
def offered(folder: Path, tmp_path: Path) -> Path:
    return team(folder, tmp_path / "offered")


@pytest.fixture(scope="module")
def loaded(demo: Project, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ArchivedSession]:
    """Return the id of a session that had loaded `team`, and what was kept of it."""
    studio = Studio(demo, "tiny", "cpu", team(folder, tmp_path_factory.mktemp("allowed")))
    page = Page(studio)
    page.act("source", do="source", value="folder")
    page.act("source", do="folder", value="team")
    page.rest()
    page.act("cost", do="decompose")
    page.rest()
    page.act("rail", do="knob", name="alpha", value=0.31)
    kept = ArchivedSession.of(page.session)
    studio.close()
    assert (kept.source, kept.link.project) == (session_archive.FOLDER, "team")
    return page.id, kept


def lay(state: Path, session_id: str, kept: ArchivedSession) -> None:
    (state / f"{sha256_text(session_id)}.json").write_text(kept.write(), encoding="utf-8")


def shelf_of(studio: Studio) -> SessionArchive:
    assert studio.shelf is not None
    return studio.shelf


def killed(studio: Studio) -> None:
    """Leave a server as a signal does that nobody can catch: what was kept stays, all else is gone."""
    shelf_of(studio).close()
    studio.shelf = None
    studio.store.close()


def files(state: Path) -> list[Path]:
    return sorted(state.iterdir())


def notice(page: Page) -> str:
    html = page.pieces["bar"]["html"]
    return html.partition('<div class="notice">')[2]


def test_a_session_comes_back_with_its_recipe_its_a_and_its_view(serve: Serve, state: Path) -> None:
    page = Page(serve())
    page.act("rail", do="knob", name="alpha", value=0.31)
    page.rest()
    page.act("stats", do="pin")
    page.act("rail", do="method", value="ties")
    page.act("rail", do="weight", name="bees", value=1.5)
    page.act("map", do="kind", value="norm")
    page.act("form", do="dtype", value="float16")
    before = page.session
    killed(page.studio)

    again = Page(serve(), known=page.id)
    again.rest()
    after = again.session
    assert again.id == page.id
    assert after is not before
    assert (after.recipe, after.view.kind) == (before.recipe, "norm")
    assert (after.recipe.method, after.recipe.dtype, after.recipe.models[1].weight) == ("ties", "float16", 1.5)
    assert after.pinned.recipe == before.pinned.recipe
    assert after.pinned.recipe.parameters["alpha"] == 0.31
    assert notice(again) == ""
    assert Page(again.studio, known=page.id).session is after  # a second tab
    killed(again.studio)
    assert Page(serve(), known=page.id).session.recipe == before.recipe  # and once more


def test_nothing_is_kept_of_who_only_looks_and_without_a_folder(serve: Serve, state: Path, studio: Studio) -> None:
    page = Page(serve())
    page.rest()
    page.studio.first.touch(("bar",))  # whose id nobody has
    shelf_of(page.studio).keep()
    assert studio.shelf is None
    known = [path for path in files(state) if path.name != f"{sha256_text(page.id)}.json"]
    assert known == []


def test_two_sessions_keep_apart_and_no_file_holds_or_names_an_id(serve: Serve, state: Path) -> None:
    one = Page(serve())
    two = Page(one.studio)
    for page, alpha in ((one, 0.11), (two, 0.22)):
        page.act("rail", do="knob", name="alpha", value=alpha)
    killed(one.studio)
    assert [path.name for path in files(state)] == sorted(f"{sha256_text(page.id)}.json" for page in (one, two))
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    for path in files(state):
        text = path.read_text(encoding="utf-8")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not any(secret in text for secret in (one.id, two.id, one.studio.first.ticket, str(state)))
        assert not any(secret in text for secret in (str(one.studio.place.demo.recipe.folder), "weight_map"))
    later = serve()
    alphas = [Page(later, known=page.id).session.recipe.parameters["alpha"] for page in (one, two)]
    assert alphas == [0.11, 0.22]


@pytest.mark.parametrize("known", ["", "x" * 22, "../" * 7 + "x", "x" * 5000, "\x00" * 22, "ä" * 22])
def test_an_id_that_nobody_had_opens_a_session_of_another(serve: Serve, known: str) -> None:
    page = Page(serve(), known=known)
    assert page.id != known
    assert page.session.lost is None


def spoiled(text: str) -> dict[str, Any]:
    """Return what a file may hold that is not ours."""
    whole = json.loads(text)
    link = json.loads(whole["link"])
    return {
        "nothing": "",
        "half": text[: len(text) // 2],
        "no mapping": "[]",
        "deep": "[" * 100_000,
        "another version": json.dumps(whole | {"esm_viz": 2}),
        "a source of its own": json.dumps(whole | {"source": "/etc"}),
        "no link": json.dumps(whole | {"link": None}),
        "a wrong link": json.dumps(whole | {"link": json.dumps(link | {"method": ["esm"]})}),
        "no recipe": json.dumps(whole | {"recipe": 3}),
        "half a loss": json.dumps(whole | {"lost": ["words"]}),
        "a loss of numbers": json.dumps(whole | {"lost": [1, 2]}),
        "too long": text + " " * session_archive.LARGEST,
        "no text": b"\xff\xfe",
    }


def test_a_damaged_or_foreign_file_is_ignored(serve: Serve, state: Path, tmp_path: Path) -> None:
    page = Page(serve())
    page.act("rail", do="knob", name="alpha", value=0.31)
    killed(page.studio)
    (path,) = files(state)
    text = path.read_text(encoding="utf-8")
    later = serve()
    for what, content in spoiled(text).items():
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert shelf_of(later).find(page.id) is None, what
    path.unlink()
    (tmp_path / "elsewhere").write_text(text, encoding="utf-8")
    path.symlink_to(tmp_path / "elsewhere")
    assert shelf_of(later).find(page.id) is None
    path.unlink()
    os.mkfifo(path)
    assert shelf_of(later).find(page.id) is None
    path.unlink()
    path.write_text(text, encoding="utf-8")
    assert shelf_of(later).find(page.id) is not None


def test_a_value_that_no_longer_fits_is_told_and_the_rest_of_the_page_stands(serve: Serve, state: Path) -> None:
    page = Page(serve())
    page.act("rail", do="knob", name="alpha", value=0.31)
    killed(page.studio)
    (path,) = files(state)
    whole = json.loads(path.read_text(encoding="utf-8"))
    whole["link"] = json.dumps(json.loads(whole["link"]) | {"method": "magic"})
    path.write_text(json.dumps(whole), encoding="utf-8")
    again = Page(serve(), known=page.id)
    assert "What was on screen did not come back" in notice(again)
    assert again.session.recipe == again.studio.first.recipe


def test_other_files_of_the_opening_project_are_told_with_the_recipe(
    serve: Serve, offered: Path, demo: Project
) -> None:
    page = Page(serve())
    page.act("rail", do="knob", name="alpha", value=0.31)
    killed(page.studio)
    other = Project.open(tiny.recipe(offered / "team").replace(models=demo.recipe.models[:2]), device="cpu")
    other.prepare()
    again = Page(serve(project=other, name="other"), known=page.id)
    assert "This server was restarted with other files than those of tiny" in notice(again)
    assert again.session.project is other
    link = notice(again).split('href=".')[1].split('"')[0]
    answer = again.http.get(link)
    assert 'filename="recipe.yaml"' in answer.headers["content-disposition"]
    assert yaml.safe_load(answer.text)["parameters"]["alpha"] == 0.31
    ticket = again.session.ticket
    again.act("rail", do="knob", name="alpha", value=0.5)
    assert notice(again)  # it stays until somebody has read it
    killed(again.studio)
    third = Page(serve(project=other, name="other"), known=page.id)
    assert "other files than those of tiny" in notice(third)
    assert third.session.recipe.parameters["alpha"] == 0.5
    third.act("bar", do="dismiss")
    assert notice(third) == ""
    assert third.http.get(link.replace(ticket, third.session.ticket)).status_code == 404


def test_a_project_of_the_allowed_folder_is_loaded_again(
    serve: Serve, state: Path, offered: Path, loaded: tuple[str, ArchivedSession]
) -> None:
    known, kept = loaded
    lay(state, known, kept)
    again = Page(serve(offered), known=known)
    again.rest()
    assert (again.id, again.session.project.tasks) == (known, ("ants", "bees"))
    assert again.session.recipe.parameters["alpha"] == 0.31
    found = ArchivedSession.of(again.session)
    assert (found.source, found.recipe, found.link.files) == (kept.source, kept.recipe, kept.link.files)
    assert found.lost is None
    assert notice(again) == ""


def test_what_is_kept_stays_until_the_project_is_back(
    serve: Serve, state: Path, offered: Path, loaded: tuple[str, ArchivedSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, kept = loaded
    lay(state, known, kept)
    at, go = threading.Event(), threading.Event()

    def slow(*_: object) -> None:
        at.set()
        go.wait(30)
        raise RecipeError("it was slow", "wait")

    monkeypatch.setattr("esm_viz.ui.tabs.load.allowed_folder.open_kept", slow)
    again = Page(serve(offered), known=known)
    assert at.wait(30)
    assert "team has to be loaded again" in notice(again)
    again.act("rail", do="knob", name="alpha", value=0.5)  # of the opening project, meanwhile
    shelf_of(again.studio).keep()
    (path,) = files(state)
    assert ArchivedSession.read(path.read_text(encoding="utf-8")) == kept
    go.set()
    again.rest()
    shelf_of(again.studio).keep()
    found = ArchivedSession.read(path.read_text(encoding="utf-8"))
    assert found.source == session_archive.OPENING
    assert found.lost is not None
    assert found.lost.recipe == kept.recipe


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("no folder", "without the folder in which team lies"),
        ("no project", "there is no such project in this server&#x27;s folder"),
        ("no file", "ants.safetensors"),
        ("another file", "its files have changed"),
        ("a way out", "outside this server&#x27;s folder"),
    ],
)
def test_a_project_of_the_folder_that_does_not_come_back_is_told_with_its_recipe(
    serve: Serve, state: Path, offered: Path, loaded: tuple[str, ArchivedSession], what: str, told: str
) -> None:
    known, kept = loaded
    place = offered / "team"
    if what == "no project":
        shutil.rmtree(place)
    elif what == "no file":
        (place / "ants.safetensors").unlink()
    elif what == "another file":
        shutil.copy(place / "cats.safetensors", place / "ants.safetensors")
    elif what == "a way out":
        shutil.copy(place / "ants.safetensors", offered.parent / "ants.safetensors")
        recipe = kept.recipe.replace("path: ants.safetensors", "path: ../../ants.safetensors")
        kept = dataclasses.replace(kept, recipe=recipe)
    lay(state, known, kept)
    again = Page(serve(None if what == "no folder" else offered), known=known)
    again.rest()
    assert told in notice(again)
    assert again.session.project is again.studio.place.demo
    assert [model["name"] for model in yaml.safe_load(again.session.lost.recipe)["models"]] == ["ants", "bees"]


def test_an_upload_is_gone_and_the_page_says_so(serve: Serve, folder: Path) -> None:
    page = Page(serve())
    session = page.session
    mine = session.private_folder()
    shutil.copytree(folder, mine, dirs_exist_ok=True)
    project = Project.open(tiny.recipe(mine), device="cpu", cache=page.studio.place.demo.stages.cache)
    session.name, session.project, session.recipe = "Upload", project, project.recipe
    assert ArchivedSession.of(session).source == session_archive.UPLOAD
    session.touch(("bar",))
    killed(page.studio)
    again = Page(serve(), known=page.id)
    assert "the files of Upload went with it: bring them again with its recipe" in notice(again)
    assert again.session.project is again.studio.place.demo
    assert yaml.safe_load(again.session.lost.recipe)["base_model"] == {"path": "base.safetensors"}


def test_what_is_kept_goes_with_a_session_that_ends_but_not_with_the_server(serve: Serve, state: Path) -> None:
    page = Page(serve())
    page.act("rail", do="knob", name="alpha", value=0.31)
    shelf_of(page.studio).keep()
    assert len(files(state)) == 1
    page.studio.close()
    assert len(files(state)) == 1
    again = Page(serve(), known=page.id)
    again.session.left = time.monotonic() - GRACE_SECONDS - 1
    shelf_of(again.studio).keep()
    again.studio.store.sweep()
    shelf_of(again.studio).keep()
    assert files(state) == []


def test_old_files_and_too_many_go_and_those_of_others_stay(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_archive, "MOST", 3)
    now = time.time()
    for at in range(5):
        path = state / f"{at:064x}.json"
        path.touch()
        age = session_archive.KEPT_SECONDS + 60 if at == 4 else 60 * at
        os.utime(path, (now - age, now - age))
    (state / "notes.json").touch()
    os.utime(state / "notes.json", (0, 0))
    SessionArchive(state, Store(), lambda _: True)._closed.set()
    assert [path.name for path in files(state)] == [*(f"{at:064x}.json" for at in range(3)), "notes.json"]


def test_a_state_folder_that_others_can_read_is_refused(tmp_path: Path) -> None:
    made = private(tmp_path / "a" / "b")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    open_to_others = "--state open is open to others, command line, give a folder of your own, or take their rights by "
    with says(RecipeError, open_to_others + "chmod 700"):
        private(tmp_path / "open")
    (tmp_path / "file").touch()
    with says(RecipeError, "--state file cannot be used (File exists), command line, give another folder"):
        private(tmp_path / "file")


def test_what_is_kept_is_read_as_it_was_written(page: Page) -> None:
    page.session.lost = LostProject("It is gone", "models: []\n")
    kept = ArchivedSession.of(page.session)
    assert ArchivedSession.read(kept.write()) == kept


# Folders of servers that were killed.

HOLD = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("leftovers", sys.argv[2])  # alone: what the page imports takes seconds
leftovers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(leftovers)
folder = leftovers.make("uploads-", sys.argv[1])
(folder / "file").write_text("x")
print(folder, flush=True)
time.sleep(60)
"""


def test_only_what_a_killed_server_left_is_cleared(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path), temporary_folders.__file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        left = Path(server.stdout.readline().strip())
        mine = temporary_folders.make(around=tmp_path)
        own = tmp_path / "esm_viz-results"
        own.mkdir()
        (tmp_path / "esm_viz-link").symlink_to(left)
        assert temporary_folders.clear(tmp_path) == 0
        assert left.is_dir()
        server.kill()
        server.wait()
    assert temporary_folders.clear(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == sorted((tmp_path / "esm_viz-link", mine, own))
    temporary_folders.remove(mine)
    assert not mine.exists()
