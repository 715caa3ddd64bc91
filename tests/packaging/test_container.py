"""The Dockerfile, without a container engine: what it says, and its steps run in empty folders."""

from __future__ import annotations

import json
import re
import shlex
import time
import urllib.request
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, Installed, borrow, copy, free_port, python, sources

PATIENCE = 240.0  # seconds for the server to come up on a busy machine
Steps = list[tuple[str, str]]


def stages() -> list[Steps]:
    """Return the instructions of every stage, each with what follows it."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    found: list[Steps] = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append((name, " ".join(rest.split())))
    return found


def said(name: str) -> str:
    """Return the last stage's instruction of this name, of which there is one."""
    (found,) = (rest for each, rest in stages()[-1] if each == name)
    return found


def allowed() -> list[str]:
    """Return the names that .dockerignore lets through."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines, "all else is left out"
    return [line[1:] for line in lines if line.startswith("!")]


def context() -> list[str]:
    """Return the files of the checkout that a build of the image is given."""
    return [name for name in sources() if name.partition("/")[0] in allowed()]


def test_the_image_is_small_not_root_and_writes_to_one_folder() -> None:
    build, last = stages()
    images = [dict(stage)["FROM"].partition(" ")[0] for stage in (build, last)]
    assert images[0] == images[1]
    version = re.fullmatch(r"python:(3\.\d+)-slim", images[0])
    assert version
    assert f'requires-python = ">={version[1]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [rest for name, rest in last if name in ("COPY", "ADD")] == ["--from=build /opt/esm_viz /opt/esm_viz"]
    assert [name for name, _ in last if name in ("RUN", "USER")] == ["RUN", "USER"]  # nothing runs as root after it
    assert said("USER") == "1000"
    assert (said("VOLUME"), said("EXPOSE")) == ("/data", "7860")
    variables = dict(word.split("=", 1) for word in shlex.split(said("ENV")))
    assert (variables["HOME"], variables["TMPDIR"], variables["PYTHONDONTWRITEBYTECODE"]) == ("/data", "/data", "1")
    assert "--state /data/" in " ".join(json.loads(said("ENTRYPOINT")))


def test_its_build_step_installs_the_same_package(place: Path, installed: Installed) -> None:
    assert [name for name in allowed() if not (ROOT / name).exists()] == []
    folder, environment = copy(context(), place / "context"), place / "opt"
    (step,) = (rest for name, rest in stages()[0] if name == "RUN")
    make, install = step.replace("/opt/esm_viz", str(environment)).split(" && ")
    python(*shlex.split(make)[1:], cwd=folder)
    borrow(environment)
    python(*shlex.split(install)[1:], cwd=folder)
    (packages,) = environment.glob("lib/python*/site-packages")
    found = {
        path.relative_to(packages) for path in packages.glob("esm_viz/**/*") if path.suffix != ".pyc" and path.is_file()
    }
    there = installed.package.parent
    assert found == {path.relative_to(there) for path in there.glob("esm_viz/**/*") if path.is_file()}
    assert (environment / "bin" / "esm-viz").is_file()
    assert not list(packages.glob("pip*"))


@pytest.fixture
def address(installed: Installed) -> str:
    return f"http://127.0.0.1:{free_port()}"


def test_its_command_serves_a_page_and_its_health_check_knows(installed: Installed, address: str) -> None:
    port, data = address.rpartition(":")[2], str(installed.data)
    entry = [word.replace("/data", data) for word in json.loads(said("ENTRYPOINT"))]
    check = json.loads(said("HEALTHCHECK").partition(" CMD ")[2].replace(":7860/", f":{port}/"))
    assert installed.run(*check).returncode == 1  # nothing is there yet
    with (installed.data / "log").open("w+") as log:
        server = installed.start(*entry, "--port", port, "--device", "cpu", stdout=log, stderr=log)
        try:
            until = time.monotonic() + PATIENCE
            while installed.run(*check).returncode:
                assert server.poll() is None, (installed.data / "log").read_text()
                assert time.monotonic() < until, (installed.data / "log").read_text()
                time.sleep(1)
            page = get(f"{address}/")
            assert b"gradio_config" in page
            for name in re.findall(rb'href="\./(studio/ui/[\w.]+css)"', page):
                assert (
                    get(f"{address}/{name.decode()}")
                    == (ROOT / "assets" / Path(name.decode()).relative_to("studio")).read_bytes()
                )
            assert b"./studio/ui/studio.css" in page
            assert len(list(installed.data.glob("esm_viz-uploads-*"))) == 1  # not where programs usually write
        finally:
            server.terminate()
            server.wait(30)
    assert {path.name for path in installed.data.iterdir()} >= {"state", "log"}
    assert not list(installed.package.rglob("__pycache__"))


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()
