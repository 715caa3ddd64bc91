"""What all tests share: their order, no network but this machine, and the same random examples every time."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).parent
FIRST = ("unit", "conformance", "parity")  # in this order, then all others by name
LAST = ("packaging", "e2e")  # slow, each with servers of its own: one after the other, in one process
LOOPBACK = ("127.0.0.1", "::1", "localhost")

# Set before any test imports the libraries that read them.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"

torch.set_num_threads(1)  # tiny matrices: a second thread waits more than it works, above all on a busy machine

settings.register_profile("esm_viz", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("esm_viz")


def room_of(nodeid: str) -> str:
    """Return the folder below tests that a test lies in."""
    parts = Path(nodeid.split("::", 1)[0]).parts
    return parts[1] if len(parts) > 2 and parts[0] == TESTS.name else ""


def room_rank(room: str, beside: bool) -> int:
    """Return where a room comes in the run: fast rooms first; the slow ones last, or first beside another process."""
    order = (*LAST, *FIRST, "") if beside else (*FIRST, "", *LAST)
    return order.index(room if room in order else "")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run fast tests first, and mark tests/e2e as e2e; of two processes, one begins with the slow rooms."""
    beside = hasattr(config, "workerinput")
    items.sort(key=lambda item: room_rank(room_of(item.nodeid), beside))  # stable: within a room pytest's order
    for item in items:
        if room_of(item.nodeid) == "e2e":
            item.add_marker(pytest.mark.e2e)


def piece_of(nodeid: str) -> str:
    """Return the name of what a test is given to a process with: itself, or all slow rooms, which share a studio."""
    return "slow" if room_of(nodeid) in LAST else nodeid


class SlowRoomsTogether(LoadScopeScheduling):
    """Give tests to processes one by one, but the slow rooms as one piece.

    pytest-xdist's own groups (3.8) are ignored without a word by pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SlowRoomsTogether:
    """Choose how tests are given to processes."""
    return SlowRoomsTogether(config, log)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test reach another machine: what the project needs is in the repository."""
    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in LOOPBACK:
            pytest.fail(f"a test tried to reach {address[0]}, and tests work without a network")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect_here)


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Compute with this many threads of the libraries and as many cores, as on a machine that has them."""
    from esm_viz.runtime import thread_pool

    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thread_pool, "cores", lambda: threads)
        thread_pool._pool.cache_clear()
        torch.set_num_threads(threads)
        yield
        torch.set_num_threads(before)
    thread_pool._pool.cache_clear()


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Compute with two threads, which most tests do not: what threads get wrong shows with two."""
    with computing_with(2):
        yield


@pytest.fixture(scope="module", params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run every test of a module with one thread, and again with two; a project of the module's own asks for it too."""
    with computing_with(request.param):
        yield request.param


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of the browser that script/test found."""
    path = os.environ.get("ESM_VIZ_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        pytest.fail("no Chromium: run script/test, or set ESM_VIZ_CHROMIUM to the path of one")
    return path


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a whole project in miniature; tests read it and write elsewhere."""
    from tests.support.tiny import write_project

    folder = tmp_path_factory.mktemp("tiny")
    write_project(folder)
    return folder
