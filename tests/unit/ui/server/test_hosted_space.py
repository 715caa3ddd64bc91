"""The studio in a hosted Space: its environment, a proxy's headers, and pages of other sites around it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gradio.routes import App
from packaging.requirements import Requirement
from starlette.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from esm_viz.cli.command_line import main
from esm_viz.core.errors import RecipeError
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.server.hosted_space import HUB, PROXIES, HostedSpace, hosted_space
from esm_viz.ui.server.rate_limit import RequestQueues
from esm_viz.ui.server.request_gate import CALL, LOGIN
from esm_viz.ui.server.server_address import Site
from esm_viz.ui.server.visitor_limits import USUAL, WORKSHOP
from esm_viz.ui.studio_server import app_settings
from tests.support.errors import says

ROOT = Path(__file__).parents[4]
HOST = "ada-esm-viz.hf.space"
SPACE = {"SPACE_ID": "ada/esm-viz", "SPACE_HOST": HOST}
PROXIED = {"Host": HOST, "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
FRAMED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate"}
ELSEWHERE = "frame-ancestors 'self'"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the command line asks the server for, which does not start."""
    for name in (*SPACE, "GRADIO_SERVER_PORT", "GRADIO_SERVER_NAME", "FORWARDED_ALLOW_IPS", "ESM_VIZ_AUTH"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    found: dict[str, Any] = {}
    monkeypatch.setattr("esm_viz.ui.serve", lambda recipe, **how: found.update(how, recipe=recipe))
    return found


@pytest.fixture
def space(studio: Studio) -> TestClient:
    """Return a way to the studio as its Space serves it, behind a proxy on a private network."""
    return client(studio, Site("0.0.0.0", 7860, f"https://{HOST}", False, (HOST, "studio.example.org"), (HUB,)))


def client(studio: Studio, site: Site) -> TestClient:
    app = App.create_app(studio.blocks, app_kwargs=app_settings(studio, site))
    proxied = ProxyHeadersMiddleware(app, trusted_hosts=PROXIES)  # as uvicorn wraps it
    return TestClient(proxied, base_url=f"https://{HOST}", client=("10.1.2.3", 50000))


# --- the environment


def test_outside_a_space_nothing_changes(asked: dict[str, Any]) -> None:
    assert hosted_space({"SPACE_HOST": HOST, "GRADIO_SERVER_PORT": "no number"}) is None
    assert main([]) == 0
    assert (asked["host"], asked["port"], asked["limits"]) == ("127.0.0.1", 7860, USUAL)
    assert (asked["address"], list(asked["aliases"]), list(asked["framers"])) == ("", [], [])
    assert "FORWARDED_ALLOW_IPS" not in os.environ


def test_in_a_space_the_studio_is_a_workshop_behind_its_proxy(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SPACE.items():
        monkeypatch.setenv(name, value)
    assert main(["app"]) == 0
    assert (asked["host"], asked["port"], asked["limits"]) == ("0.0.0.0", 7860, WORKSHOP)
    assert (asked["address"], asked["aliases"], asked["framers"]) == (f"https://{HOST}", (HOST,), [HUB])
    assert (asked["recipe"], asked["auth"]) == (None, [])
    assert os.environ["FORWARDED_ALLOW_IPS"] == PROXIES


def test_a_spaces_own_port_and_password_are_used(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SPACE, "GRADIO_SERVER_PORT": "8080", "ESM_VIZ_AUTH": "hall:secret"}.items():
        monkeypatch.setenv(name, value)
    assert main(["app"]) == 0
    assert (asked["port"], asked["auth"]) == (8080, [("hall", "secret")])
    assert main(["app", "--port", "9000", "--host", "127.0.0.1", "--embed-in", "https://example.org/"]) == 0
    assert (asked["host"], asked["port"], asked["framers"]) == ("127.0.0.1", 9000, ["https://example.org"])


def test_a_space_with_a_domain_of_its_own_has_two_names() -> None:
    found = hosted_space({**SPACE, "SPACE_HOST": f"{HOST}, Studio.Example.org"})
    assert found == HostedSpace((HOST, "studio.example.org"), "0.0.0.0", 7860)
    assert found.address == f"https://{HOST}"


@pytest.mark.parametrize("host", ["", ","])
def test_a_space_that_does_not_know_its_host_has_no_address(host: str) -> None:
    found = hosted_space({**SPACE, "SPACE_HOST": host})
    assert found is not None
    assert found.address == ""


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with says(RecipeError, f"GRADIO_SERVER_PORT is {port!r}, environment, give one from 1 to 65535"):
        hosted_space({**SPACE, "GRADIO_SERVER_PORT": port})


@pytest.mark.parametrize("url", ["huggingface.co", "https://a.example/page", "*", "https://*", "https://a b", "'none'"])
def test_a_site_to_be_embedded_in_is_one_origin(
    url: str, asked: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["app", "--embed-in", url]) == 2
    assert capsys.readouterr().err.startswith(f"error: --embed-in is {url!r}, command line, give it as https://")
    assert not asked


# --- the proxy


def test_a_space_answers_to_its_own_names_and_numbers_alone(space: TestClient) -> None:
    for host in (HOST, HOST.upper(), "studio.example.org", "10.1.2.4:7860", "localhost:7860"):
        assert space.get("/join/here", headers={**PROXIED, "Host": host}).status_code == 200
    for host in ("evil.example", "huggingface.co", "other.hf.space", f"{HOST}.evil.example"):
        assert space.get("/join/here", headers={**PROXIED, "Host": host}).status_code == 421


def test_behind_the_proxy_the_page_asks_for_everything_by_https(space: TestClient) -> None:
    assert space.get("/config", headers=PROXIED).json()["root"] == f"https://{HOST}"
    assert f">https://{HOST}<" in space.get("/join", headers=PROXIED).text.replace("<wbr>", "")


def test_its_own_page_may_send_and_no_other(space: TestClient) -> None:
    ours = {**PROXIED, "Origin": f"https://{HOST}", "Sec-Fetch-Site": "same-origin"}
    assert space.post(CALL, headers=ours, json={}).status_code == 400  # it was let through, and is no message
    for origin in (HUB, "https://evil.example", "https://other.hf.space", "null"):
        for site in ("same-origin", "same-site", "cross-site"):
            answer = space.post(CALL, headers={**ours, "Origin": origin, "Sec-Fetch-Site": site}, json={})
            assert answer.status_code == 403
    assert space.post(CALL, headers={**PROXIED, "Sec-Fetch-Site": "cross-site"}, json={}).status_code == 403


def test_visitors_are_told_apart_by_what_the_proxy_says_of_them(
    space: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    turn = RequestQueues.turn

    def noted(self: RequestQueues, caller: str) -> Any:
        seen.append(caller)
        return turn(self, caller)

    monkeypatch.setattr(RequestQueues, "turn", noted)
    space.get("/join/here", headers=PROXIED)
    space.get("/join/here", headers={**PROXIED, "X-Forwarded-For": "192.0.2.66, 198.51.100.8, 10.9.9.9"})
    assert seen == ["198.51.100.7", "198.51.100.8"]  # not the first one, which a visitor can make up


# --- frames


def test_the_hub_may_show_its_pages_in_a_frame_and_nobody_else(space: TestClient, studio: Studio) -> None:
    answer = space.get("/join", headers={**PROXIED, **FRAMED})
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].endswith(f"; {ELSEWHERE} {HUB}")
    assert "x-frame-options" not in answer.headers
    plain = client(studio, Site("127.0.0.1", 7860))
    policy = plain.get("/join", headers={"Host": "127.0.0.1:7860"}).headers["content-security-policy"]
    assert policy.endswith(f"; {ELSEWHERE}")


@pytest.fixture
def locked(studio: Studio) -> Iterator[Studio]:
    studio.blocks.auth = [("hall", "secret")]
    yield studio
    studio.blocks.auth = None


def test_a_password_given_in_a_frame_is_kept_for_the_site_around_it(locked: Studio) -> None:
    framed = client(locked, Site("0.0.0.0", 7860, f"https://{HOST}", False, (HOST,), (HUB,)))
    plain = client(locked, Site("0.0.0.0", 7860, f"https://{HOST}", False, (HOST,)))
    door = framed.get("/", headers={**PROXIED, **FRAMED})
    assert door.headers["content-security-policy"].endswith(f"; {ELSEWHERE} {HUB}")
    given = {"username": "hall", "password": "secret"}
    partitioned = [
        [
            "Partitioned" in cookie
            for cookie in way.post(LOGIN, data=given, headers=PROXIED).headers.get_list("set-cookie")
        ]
        for way in (framed, plain)
    ]
    assert partitioned == [[True, False], [False, False]]  # the other one is for pages without TLS
    assert framed.get("/config", headers=PROXIED).status_code == 200


# --- the README's head, which a Space is configured by


def front_matter() -> dict[str, Any]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return yaml.safe_load(text.split("---\n")[1]) if text.startswith("---\n") else {}


def requirement(file: str, name: str) -> Requirement:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return next(Requirement(line) for line in lines if line.startswith(name))


def test_the_space_is_configured_with_what_is_tested() -> None:
    found = front_matter()
    assert found["sdk"] == "gradio"
    assert requirement("requirements.lock", "gradio==").specifier.contains(found["sdk_version"])
    assert requirement("requirements.txt", "gradio>=").specifier.contains(found["sdk_version"])
    assert (ROOT / found["app_file"]).is_file()
    assert f'requires-python = ">={found["python_version"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert found["license"] == "apache-2.0"
    assert 0 < len(found["short_description"]) <= 60  # the hub cuts or refuses a longer one
    assert found["pinned"] is False
    assert isinstance(found["python_version"], str), "quote it: 3.10 would be read as 3.1"
