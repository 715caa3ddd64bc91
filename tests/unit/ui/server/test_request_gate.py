"""Everything this server answers to, asked by an enemy: one sentence or nothing, never a traceback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from gradio.routes import App
from starlette.testclient import TestClient

from esm_viz.core.errors import RecipeError
from esm_viz.project.project import Project
from esm_viz.ui.components.browser_message import LONGEST, checked_fields
from esm_viz.ui.page.page_update import HEADER, TABS
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.server import call_schema, join_page, request_gate
from esm_viz.ui.server.call_schema import handlers
from esm_viz.ui.server.rate_limit import RequestQueues, TooManyRequests
from esm_viz.ui.server.request_gate import CALL, INSIDE, LOGIN, OPEN, UPLOAD
from esm_viz.ui.server.server_address import Site, local_address
from esm_viz.ui.server.visitor_limits import USUAL, WORKSHOP, Limits
from esm_viz.ui.session.share_link import link_of, read, write
from esm_viz.ui.studio_server import app_settings
from esm_viz.ui.tabs.load.load_tab import source
from tests.support import tiny
from tests.support.errors import says
from tests.unit.ui.conftest import SITE, Page

DEEP: Any = "x"
for _ in range(200):
    DEEP = [DEEP]
WIDE = list(range(100_000))
HTML = "<img src=x onerror=alert(1)>"
STRANGE: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        1 << 80,
        1.5,
        1e308,
        "",
        "x" * 100_000,
        HTML,
        "../../etc/passwd",
        "\x00",
        "\u202e",
        "constructor",
    ),
    *([], {}, [None], [[]], ["a", "b", "c"], {"a": {"b": 1}}, DEEP, WIDE, [HTML, HTML], [0, 0], [-1, "x"], "NaN"),
)
PLAIN = [strange for strange in STRANGE if "x" in checked_fields({"x": strange})]  # what a handler may meet
JSON = {"Content-Type": "application/json"}
BODIES = (
    *(b"", b"null", b"[]", b"{}", b"{", b"\xff\xfe", b'"\\ud800"', b"NaN", b"[" * 5000, b"1e999", b'{"fn_index": 0}'),
    *(b'{"data": [""]}', b'{"fn_index": true, "data": [""], "session_hash": "a"}'),
)
CLOSED = (
    *("/docs", "/openapi.json", "/redoc", "/gradio_api/openapi.json", "/gradio_api/runs", "/gradio_api/token"),
    *("/gradio_api/deep_link?session_hash=a", "/gradio_api/file=/etc/passwd", "/gradio_api/file=http://192.0.2.1/x"),
    *("/gradio_api/file/etc/passwd", "/gradio_api/proxy=http://192.0.2.1/", "/gradio_api/stream/a/b/1/playlist.m3u8"),
    *("/gradio_api/custom_component/a/client/b/c", "/gradio_api/queue/data?session_hash=a", "/gradio_api/queue/status"),
    *(
        "/gradio_api/user",
        "/gradio_api/dev/reload",
        "/monitoring",
        "/monitoring/x",
        "/gradio_api/vibe-code",
        "/pwa_icon/9",
    ),
    *("/?deep_link=../x", "/?page=nothing", "/config?deep_link=x", "/nothing", "/studio/../app.py", "//etc/passwd"),
    *("/gradio_api/heartbeat/..%2f", "/studio-recipe/" + "x" * 99 + "/recipe.yaml", "/logout", "/svelte/x.js"),
)
CLOSED_POSTS = (
    *("/gradio_api/api/predict", "/gradio_api/run/predict/", "/gradio_api/run/_start", "/gradio_api/queue/join"),
    *("/gradio_api/call/predict", "/gradio_api/call/v2/predict", "/gradio_api/component_server", "/gradio_api/cancel"),
    *("/gradio_api/reset", "/gradio_api/stream/a", "/gradio_api/stream/a/close", "/gradio_api/process_recording"),
    *("/gradio_api/run-history/connect", "/gradio_api/vibe-edit", "/gradio_api/undo-vibe-edit", "/"),
)


@pytest.fixture(scope="module")
def enemy(studio: Studio) -> Page:
    return Page(studio)


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing may reach the log above debug, nor the terminal."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG] == []
    assert "Traceback" not in "".join(capfd.readouterr())


def posted(page: Page, target: Any, event: str, data: list[Any], message: Any) -> Any:
    """Call a handler with whatever; return the answer."""
    number = next(fn._id for fn in page.studio.blocks.fns.values() if (target._id, event) in fn.targets)
    body = {"fn_index": number, "data": data, "event_data": message, "session_hash": page.hash}
    return page.http.post(CALL, content=json.dumps(body).encode(), headers=JSON)  # writes what orjson refuses


def trusted(answer: Any) -> str:
    """Return all of an answer that the page takes for HTML; the rest it writes as text."""
    pieces = [json.loads(value) for value in answer.json()["data"] if isinstance(value, str)]
    kinds = ("html", "title", "controls", "summary", "weights", "knobs", "menu")
    return json.dumps([[piece.get(kind) for kind in kinds] for piece in pieces])


def words_of(tab: Any) -> list[str]:
    """Return what messages of a tab's pieces can ask for."""
    known = {
        "": ("cancel", "dismiss", "undo"),
        "Load": ("row", "source", "folder", "own", "leave", "take", "activation", "arch", "activations", "decompose"),
        "Explore": ("kind", "view", "family", "direction", "knob", "pair", "cell"),
        "Merge": ("knob", "weight", "method", "preset", "history", "heat", "measure", "levels", "words", "curve",
                  "sweep-cell", "sweep-knob", "sweep-against", "sweep-steps", "sweep-shown",
                  "tune-trial", "tune-knob", "tune-trials"),
        "Evaluate": ("row", "task", "against", "confused", "image", "routes", "routed"),
        "Export": ("dtype", "layout"),
    }  # fmt: skip
    return [*known[tab.name], "nothing-such"]


CASES = [(tab, do) for tab in (HEADER, *TABS) for do in words_of(tab)]


@pytest.mark.parametrize(("tab", "do"), CASES, ids=lambda value: getattr(value, "name", value))
def test_a_handler_meets_strange_values_with_a_sentence_or_nothing(
    enemy: Page, studio: Studio, tab: Any, do: str
) -> None:
    part = studio.parts[tab.pieces[0].name]
    for strange in PLAIN:
        message = {"do": do, **dict.fromkeys(("value", "name", "data", "index", "row", "seq"), strange)}
        for more in ({}, {"name": "alpha"}, {"name": "ants"}) if do in ("knob", "weight") else ({},):
            answer = posted(enemy, part, "act", [enemy.id], message | more)
            assert answer.status_code == 200, (strange, answer.text[:200])
            assert HTML not in trusted(answer)
            assert "should not have" not in answer.text, strange  # every refusal is one that somebody wrote
    enemy.session.stop()
    enemy.session.recipe = studio.first.recipe


def test_what_an_enemy_did_is_his_alone(enemy: Page, studio: Studio) -> None:
    victim = Page(studio)
    before, history = victim.session.recipe, list(victim.session.history)
    posted(enemy, studio.parts["rail"], "act", [enemy.id], {"do": "knob", "name": "alpha", "value": 0.3})
    assert enemy.session.recipe != before
    enemy.session.recipe = before
    assert (victim.session.recipe, victim.session.history) == (before, history)
    assert studio.first.recipe == before


@pytest.mark.parametrize("message", [*STRANGE, {HTML: 1}, {str(n): n for n in range(99)}, {"do": DEEP}, {"do": {}}])
def test_a_message_of_another_shape_is_as_if_nobody_had_sent_it(enemy: Page, studio: Studio, message: Any) -> None:
    for event, part in (("act", "rail"), ("act", "map"), ("tick", "bar")):
        before = enemy.session.recipe
        answer = posted(enemy, studio.parts[part], event, [enemy.id], message)
        assert answer.status_code in (200, 413)
        assert "should not have" not in answer.text
        assert enemy.session.recipe == before


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:24]))
def test_a_request_of_another_shape_is_one_sentence(enemy: Page, body: bytes) -> None:
    answer = enemy.http.post(CALL, content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.text.count("\n") == 0
    assert answer.text.endswith("reload the page")


@pytest.mark.parametrize("strange", STRANGE, ids=lambda value: repr(value)[:20])
def test_no_field_of_a_request_passes_with_another_type(enemy: Page, studio: Studio, strange: Any) -> None:
    number = next(iter(handlers(studio.blocks)))
    good = {"fn_index": number, "data": [enemy.id], "event_data": None, "session_hash": enemy.hash}
    for key in (*good, "trigger_id", "batched", "request", "simple_format", "event_id"):
        answer = enemy.http.post(CALL, content=json.dumps({**good, key: strange}).encode(), headers=JSON)
        assert answer.status_code in (200, 400, 413)
        assert "Traceback" not in answer.text


def test_a_request_that_is_too_long_is_not_read(enemy: Page) -> None:
    answer = enemy.http.post(CALL, content=b"x" * (call_schema.MOST_BYTES + 1), headers=JSON)
    assert (answer.status_code, answer.text) == (413, "This request is larger than 262 kB")


@pytest.mark.parametrize("known", ["x", "first", 0, ["x"], HTML, "x" * 99, None])
def test_an_id_that_is_nobodys_opens_nothing(enemy: Page, studio: Studio, known: Any) -> None:
    for part in ("rail", "board", "form", "source"):
        answer = posted(enemy, studio.parts[part], "act", [known], {"do": "reset"})
        assert answer.status_code == 200
        painted = [json.loads(value) for value in answer.json()["data"] if isinstance(value, str)]
        assert all(
            set(piece) == {"v", "html", "busy", "said", "gone"} and "expired" in piece["html"] for piece in painted
        )


def test_another_pages_closing_cannot_be_told_in_its_name(enemy: Page, studio: Studio) -> None:
    unload = next(n for n, fn in studio.blocks.fns.items() if any(event == "unload" for _, event in fn.targets))
    body = {"fn_index": unload, "data": [], "session_hash": enemy.hash}
    answer = enemy.http.post(CALL, json=body)
    assert (answer.status_code, answer.text) == (400, "this server has no such handler, reload the page")


def test_ids_tokens_and_tickets_are_long_and_never_the_same(studio: Studio, tmp_path: Path) -> None:
    sessions = [Page(studio).session for _ in range(3)]
    secrets = [secret for one in sessions for secret in (one.id, one.ticket, one.offer(tmp_path))]
    assert len(set(secrets)) == len(secrets)
    assert all(len(secret) >= 22 for secret in secrets)  # 128 bits


def test_a_download_is_only_for_who_has_its_token(studio: Studio, tmp_path: Path) -> None:
    owner, other = Page(studio), Page(studio)
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "model.txt").write_text("mine")
    (tmp_path / "beside.txt").write_text("not offered")
    (folder / "link.txt").symlink_to(tmp_path / "beside.txt")
    token = owner.session.offer(folder)
    try:
        assert other.http.get(f"/studio-file/{token}/model.txt").text == "mine"  # the token is the key, and only that
        for name in ("link.txt", "..%2fbeside.txt", "%2e%2e/beside.txt", "", "nothing", ".", "model.txt/"):
            assert other.http.get(f"/studio-file/{token}/{name}").status_code == 404
        for guess in (owner.id, owner.session.ticket, token[:-1], "", "x"):
            assert other.http.get(f"/studio-file/{guess}/model.txt").status_code == 404
        assert token not in json.dumps([other.act(part, do="nothing") for part in ("form", "bar", "board")])
        answer = other.http.get(f"/studio-file/{token}/model.txt")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["cache-control"] == "no-store"
    finally:
        owner.session.downloads.clear()


def test_a_ticket_reads_the_recipe_and_a_code_and_opens_no_session(studio: Studio) -> None:
    page = Page(studio)
    assert page.http.get(f"/studio-recipe/{page.session.ticket}/recipe.yaml").status_code == 200
    assert "<svg" in page.http.get(f"/studio-code/{page.session.ticket}?tab=Merge").json()["code"]
    for guess in (page.id, "x", "0"):
        assert page.http.get(f"/studio-recipe/{guess}/recipe.yaml").status_code == 404
        assert page.http.get(f"/studio-code/{guess}").status_code == 404
    assert page.id not in page.http.get(f"/studio-code/{page.session.ticket}?tab={HTML}").text
    assert studio.store.get(page.session.ticket) is None


@pytest.mark.parametrize("path", CLOSED)
def test_what_the_page_does_not_ask_for_is_not_there(enemy: Page, path: str) -> None:
    assert enemy.http.get(path).status_code == 404


@pytest.mark.parametrize("path", CLOSED_POSTS)
def test_nothing_else_takes_a_post(enemy: Page, path: str) -> None:
    assert enemy.http.post(path, json={"data": [], "session_hash": "a"}).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_no_other_method_is_known(enemy: Page, method: str) -> None:
    assert enemy.http.request(method, "/").status_code == 404


def test_every_route_of_gradio_is_open_by_intention_or_closed(studio: Studio, enemy: Page) -> None:
    """A newer Gradio may bring routes: those that the gate lets through are these."""
    routes = [*enemy.http.app.routes]
    for included in (getattr(route, "original_router", None) for route in enemy.http.app.routes):
        routes += included.routes if included else []
    paths = {getattr(route, "path", "") for route in routes}
    assert len(paths) > 60
    through = {path for path in paths if OPEN.fullmatch(path) or INSIDE.fullmatch(path)}
    assert {path for path in through if not path.startswith("/studio")} == {
        *("/", "/join", "/join/here", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json"),
        *("/gradio_api/info", "/gradio_api/app_id", "/gradio_api/startup-events", "/gradio_api/theme.css"),
        *("/gradio_api/upload_progress",),
    }


def test_no_handler_has_a_name_to_call_it_by(enemy: Page) -> None:
    assert enemy.http.get("/gradio_api/info").json() == {"named_endpoints": {}, "unnamed_endpoints": {}}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "localhost.evil.example", "", "a b", "x@[", "@"],
)
def test_a_server_answers_to_its_own_names_alone(enemy: Page, host: str) -> None:
    assert enemy.http.get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost", "LOCALHOST:7860", "192.0.2.7:7860", "[::1]:7860"])
def test_numbers_and_this_machines_names_lead_here(enemy: Page, host: str) -> None:
    assert enemy.http.get("/join/here", headers={"Host": host}).status_code == 200


def test_a_name_given_by_the_operator_leads_here() -> None:
    site = Site("0.0.0.0", 7860, "https://studio.example.org")
    assert site.knows("studio.example.org")
    assert site.owns("https://studio.example.org", "127.0.0.1:7860")  # behind a proxy that writes its own Host
    assert not site.knows("example.org")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://", "http://[", "x"])
def test_a_page_of_another_site_can_neither_send_nor_read(enemy: Page, origin: str) -> None:
    for method, path in (("POST", CALL), ("POST", UPLOAD), ("POST", LOGIN), ("GET", "/join/here")):
        answer = enemy.http.request(method, path, headers={"Origin": origin})
        assert (answer.status_code, answer.text) == (403, "This request comes from the page of another site")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_browser_says_of_another_site_is_believed(enemy: Page, site: str) -> None:
    assert enemy.http.post(CALL, headers={"Sec-Fetch-Site": site}).status_code == 403


def test_every_answer_carries_the_headers_that_keep_a_browser_careful(enemy: Page) -> None:
    for path in ("/join", "/config", "/join/here", "/studio/ui/studio.js", "/nothing"):
        headers = enemy.http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert (
        "frame-ancestors 'self'" in request_gate.POLICY
    )  # of Gradio's own page, which the tests in a browser live with
    assert "default-src 'none'" in enemy.http.get("/join").headers["content-security-policy"]


def test_a_flood_of_one_session_is_refused_and_leaves_the_others_alone() -> None:
    async def flood() -> list[object]:
        turns, held = RequestQueues(2, 5), asyncio.Event()

        async def ask(who: str) -> str:
            async with turns.turn(who):
                await held.wait()
            return who

        asked = [asyncio.create_task(ask("enemy")) for _ in range(8)]
        await asyncio.sleep(0)
        other = asyncio.create_task(ask("other"))
        await asyncio.sleep(0)
        held.set()
        answers: list[object] = await asyncio.gather(*asked, other, return_exceptions=True)
        return [type(answer) if isinstance(answer, Exception) else answer for answer in answers]

    assert asyncio.run(flood()) == [*["enemy"] * 5, *[TooManyRequests] * 3, "other"]


# --- uploads


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "uploads"


@pytest.fixture(scope="module")
def workshop(folder: Path, uploads: Path) -> Iterator[Studio]:
    """Return a workshop's studio that takes 1000 bytes a person."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        patch.setattr(request_gate, "FRAMING", 300)
        project = Project.open(tiny.recipe(folder), device="cpu")
        project.prepare()
        made = Studio(project, "tiny", "cpu", limits=tiny_limits(1000))
        made.blocks.max_file_size = 1000  # as `launch` would set it
        yield made
        made.store.close()


@pytest.fixture
def small(workshop: Studio) -> Page:
    workshop.inbox._files.clear()
    return Page(workshop)


def tiny_limits(uploads: int) -> Limits:
    return dataclasses.replace(WORKSHOP, uploads=uploads, sessions=3)


def send(page: Page, name: str, content: bytes) -> Any:
    return page.http.post(UPLOAD, files={"files": (name, content)})


def bring(page: Page, *paths: Any) -> str:
    files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
    page.call("upload", page.studio.drop, page.id, files)
    page.rest()
    return page.pieces["source"]["html"]


def test_uploads_are_taken_once_by_who_sent_them_and_nobody_reads_them(small: Page) -> None:
    (path,) = send(small, "x.yaml", b"a: 1").json()
    assert small.http.get(f"/gradio_api/file={path}").status_code == 404
    assert "did not come from here" not in bring(small, path)
    assert not Path(path).exists()  # it left Gradio's folder
    assert "these files did not come from here just now, upload them again" in bring(small, path)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "http://192.0.2.1/x", "../x", "", None, 7, ["x"], {"path": "x"}, "x" * 9999]
)
def test_a_path_that_is_no_upload_is_not_touched(small: Page, path: Any) -> None:
    told = bring(small, path)
    assert "upload" in told
    assert Path("/etc/passwd").exists()


def test_an_upload_of_another_address_is_not_ones_own(small: Page) -> None:
    (path,) = send(small, "x.yaml", b"a: 1").json()
    inbox = small.studio.inbox
    with pytest.raises(Exception, match="did not come from here"):
        inbox.take("192.0.2.9", [path])
    assert inbox.take("testclient", [path]) == [path]


@pytest.mark.parametrize(
    "name", ["../../evil.yaml", "..\\evil.yaml", "/etc/evil.yaml", "a/b/c.yaml", ".yaml", "\x00.yaml"]
)
def test_a_name_with_a_way_in_it_stays_in_the_folder(small: Page, name: str, uploads: Path) -> None:
    for path in send(small, name, b"a: 1").json():
        assert Path(path).resolve().is_relative_to(uploads.resolve())
    assert [path for path in uploads.parent.rglob("*evil.yaml") if not path.is_relative_to(uploads)] == []


def test_an_upload_is_no_larger_than_allowed_alone_and_in_all(small: Page) -> None:
    assert send(small, "x.yaml", b"x" * 2000).status_code == 400
    paths = [send(small, f"{n}.yaml", bytes([48 + n]) * 700).json()[0] for n in range(2)]
    bring(small, paths[0])
    assert "these files are 700 B, you can bring 300 B more to this server" in bring(small, paths[1])
    assert not Path(paths[1]).exists()


def test_what_is_no_whole_upload_leaves_nothing_on_the_disk(small: Page, uploads: Path) -> None:
    before = set(uploads.rglob("*"))
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.yaml"\r\n\r\n' + b"y" * 200
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (head, head + b"\r\n--x-garbage", b"--x\r\nnonsense", b"", b"\x00" * 300):
        answer = small.http.post(UPLOAD, content=body, headers=kind)
        assert answer.status_code in (200, 400)
        assert answer.text.count("\n") == 0
    answer = small.http.post(UPLOAD, data={"files": "no file"}, files={"other": ("b.yaml", b"z" * 200)})
    assert (answer.status_code, answer.text) == (400, "This request cannot be read")
    assert small.http.post(UPLOAD, content=b"x", headers={"Content-Type": "text/plain"}).status_code == 400
    assert [path for path in set(uploads.rglob("*")) - before if path.is_file()] == []


def test_files_that_nobody_takes_leave_no_room_for_more(small: Page) -> None:
    answers = [send(small, f"{n}.yaml", bytes([48 + n]) * 900).status_code for n in range(6)]
    assert answers == [200, 200, 200, 200, 400, 400]


def test_an_upload_without_a_length_is_not_read(small: Page) -> None:
    answer = small.http.post(
        UPLOAD, content=iter([b"x" * 100]), headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert (answer.status_code, answer.text) == (411, "An upload has to say how large it is")


def test_where_uploads_are_off_there_is_no_way_to_bring_any(workshop: Studio) -> None:
    studio = Studio(workshop.place.demo, "tiny", "cpu", limits=tiny_limits(0))
    try:
        page = Page(studio)
        assert 'data-value="upload"' not in source(page.session)["html"]
        assert 'data-value="upload"' in source(Page(workshop).session)["html"]
        answer = send(page, "x.yaml", b"a: 1")
        assert (answer.status_code, answer.text) == (403, "Nobody can upload files to this server")
        page.act("source", do="source", value="upload")
        assert page.session.view.source == "demo"
    finally:
        studio.store.close()


def test_sessions_of_one_address_are_bounded_and_the_longest_idle_ends(small: Page) -> None:
    pages = [small, *(Page(small.studio) for _ in range(3))]
    assert [small.studio.store.get(page.id) is not None for page in pages] == [False, True, True, True]


def test_a_workshop_sweeps_and_tunes_less(small: Page) -> None:
    small.act("sweep", do="sweep-against", value="alpha")
    small.act("sweep", do="sweep-steps", value="13")
    assert (
        "that makes 169 cells, one sweep here has at most 81, choose fewer steps"
        in small.act("sweep", do="sweep")["sweep"]["error"]
    )
    small.act("tuning", do="tune-trials", value="80")
    assert (
        "that makes 80 trials, one search here has at most 40, choose fewer"
        in small.act("tuning", do="tune")["tuning"]["error"]
    )
    assert small.session.task is None


# --- passwords


@pytest.fixture
def locked(studio: Studio) -> Iterator[TestClient]:
    studio.blocks.auth = [("hall", "secret")]
    app = App.create_app(studio.blocks, app_kwargs=app_settings(studio, SITE))
    yield TestClient(app, base_url=SITE.url())
    studio.blocks.auth = None


def login(client: TestClient, password: str) -> Any:
    return client.post(LOGIN, data={"username": "hall", "password": password})


def test_a_password_guards_every_route_that_shows_something(locked: TestClient, studio: Studio) -> None:
    ticket = studio.first.ticket
    inside = (
        *(f"/studio-recipe/{ticket}/recipe.yaml", f"/studio-code/{ticket}", "/studio-file/x/y", "/config"),
        *("/gradio_api/info", "/gradio_api/heartbeat/abc", "/gradio_api/upload_progress?upload_id=x"),
    )
    assert [locked.get(path).status_code for path in inside] == [401] * len(inside)
    assert [locked.post(path).status_code for path in (CALL, UPLOAD)] == [401, 401]
    door = locked.get("/").text
    assert 'type="password"' in door
    assert "gradio_config" not in door
    page = locked.get("/join").text
    assert "secret" not in page
    assert "asks for a name and a password" in page


def test_who_knows_the_password_comes_in(locked: TestClient, studio: Studio) -> None:
    assert login(locked, "secret").json() == {"success": True}
    assert locked.get("/config").status_code == 200
    assert locked.get(f"/studio-recipe/{studio.first.ticket}/recipe.yaml").status_code == 200
    locked.cookies.clear()
    assert locked.get("/config").status_code == 401
    for name in ("access-token", "access-token-unsecure"):
        locked.cookies.set(f"{name}-{locked.app.cookie_id}", "guess")
    assert locked.get("/config").status_code == 401


def test_passwords_cannot_be_tried_without_end(locked: TestClient) -> None:
    answers = [login(locked, str(n)) for n in range(11)]
    assert [answer.status_code for answer in answers] == [400] * 10 + [429]
    assert answers[-1].text.startswith("Too many wrong passwords, try again in ")
    assert login(locked, "secret").status_code == 429  # not even the right one, so that it cannot be told apart


# --- what messages may hold


def test_a_message_keeps_what_is_small_and_plain() -> None:
    good = {"do": "cell", "data": ["ants", "in_proj 1"], "seq": 7, "rest": True, "value": 0.5, "none": None}
    assert checked_fields(good) == good
    long = {
        "do": "x",
        "a": "y" * (LONGEST + 1),
        "b": [[1]],
        "c": {},
        "d": float("nan"),
        "e": float("inf"),
        "f": "\ud800",
    }
    assert checked_fields(long) == {"do": "x"}


def test_limits_of_a_workshop_are_smaller() -> None:
    for name in ("uploads", "sessions", "trials", "cells"):
        assert 0 < getattr(WORKSHOP, name) < getattr(USUAL, name)


# --- the way in


def test_a_code_leads_to_what_share_would_send(studio: Studio) -> None:
    page = Page(studio)
    page.act("rail", do="knob", name="alpha", value=0.35)
    link = join_page.link("http://192.0.2.7:7860", "Merge", write(link_of(page.session)))
    query = parse_qs(urlsplit(link).query)
    assert query["tab"] == ["Merge"]
    assert read(query["state"][0]).merge.knobs == {"alpha": 0.35}
    with says(RecipeError, "this link is too long for a code, use Share and send the link"):
        join_page.code("x" * 4000, "")


@pytest.mark.parametrize(
    ("site", "host", "url"),
    [
        (Site("127.0.0.1", 7860), "localhost:7860", "http://127.0.0.1:7860"),
        (Site("192.0.2.7", 80), "127.0.0.1", "http://192.0.2.7:80"),
        (Site("0.0.0.0", 7860), "192.0.2.8:7860", "http://192.0.2.8:7860"),
        (Site("::1", 7860), "", "http://[::1]:7860"),
        (Site("0.0.0.0", 7860, "https://studio.example.org"), "192.0.2.8:7860", "https://studio.example.org"),
    ],
)
def test_the_address_on_the_wall_is_one_that_others_reach(site: Site, host: str, url: str) -> None:
    assert site.url({"host": host}) == url


@pytest.mark.parametrize(("network", "found"), [(True, "192.0.2.5"), (False, "127.0.0.1")])
def test_this_machines_address_is_found_without_a_word_to_anybody(
    monkeypatch: pytest.MonkeyPatch, network: bool, found: str
) -> None:
    class Way(contextlib.AbstractContextManager[Any]):
        """A datagram socket that knows no way to send."""

        def __init__(self, family: int, kind: int) -> None:
            assert kind == socket.SOCK_DGRAM

        def __exit__(self, *_: object) -> None:
            return None

        def connect(self, _: object) -> None:
            if not network:
                raise OSError

        def getsockname(self) -> tuple[str, int]:
            return "192.0.2.5", 1

    monkeypatch.setattr(socket, "socket", Way)
    assert local_address() == found


def test_how_many_are_here_counts_people_not_pages(studio: Studio) -> None:
    one, before = Page(studio), studio.store.here()
    Page(studio, known=one.id)
    assert studio.store.here() == before
    two = Page(studio)
    assert studio.store.here() == before + 1
    studio.store.leave(two.hash)
    assert studio.store.here() == before
    assert [join_page.visitors_sentence(count)[:12] for count in (0, 1, 2)] == [
        "Nobody is he",
        "<b>1</b> per",
        "<b>2</b> peo",
    ]


# --- the folder that an operator offers


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("absolute", "outside this server&#x27;s folder"),
        ("upwards", "outside this server&#x27;s folder"),
        ("link", "outside this server&#x27;s folder"),
        ("linked folder", "outside this server&#x27;s folder"),
        ("recipe link", "no such project"),
        ("missing", ""),
    ],
)
def test_no_project_of_an_offered_folder_leads_out_of_it_or_tells_where_it_lies(
    workshop: Studio, folder: Path, tmp_path: Path, kind: str, told: str
) -> None:
    outside, offered = tmp_path / "outside", tmp_path / "offered"
    shutil.copytree(folder, outside)
    shutil.copytree(folder, offered / "project")
    raw, ants = tiny.mapping(), offered / "project" / "ants.safetensors"
    path = {"absolute": str(outside / "ants.safetensors"), "upwards": "../../outside/ants.safetensors"}.get(
        kind, ants.name
    )
    raw["models"][0]["path"] = path
    (offered / "project" / "recipe.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    if kind in ("link", "missing"):
        ants.unlink()
    if kind == "link":
        ants.symlink_to(outside / "ants.safetensors")
    if kind == "linked folder":
        (offered / "project" / "more").symlink_to(outside)
        raw["models"][0]["path"] = "more/ants.safetensors"
        (offered / "project" / "recipe.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    if kind == "recipe link":
        (offered / "project" / "recipe.yaml").rename(outside / "recipe.yaml")
        (offered / "project" / "recipe.yaml").symlink_to(outside / "recipe.yaml")
    studio = Studio(workshop.place.demo, "tiny", "cpu", offered)
    try:
        page = Page(studio)
        page.act("source", do="source", value="folder")
        assert str(tmp_path) not in json.dumps(page.pieces)
        page.act("source", do="folder", value="project")
        page.rest()
        page.act("source", do="nothing")
        assert told in page.pieces["source"]["html"]
        assert (page.session.candidate is None) == bool(told)
        assert str(tmp_path) not in json.dumps(page.pieces)
    finally:
        studio.store.close()
