"""A small hub on the loopback address, to run huggingface_hub against: `HF_ENDPOINT` is its address.

It serves repositories from memory: models and data sets with commits, branches and large files that are redirected to
a second server, as hubs redirect to a content network. It counts every request with its bytes, can be told to break
off, to gate or to hide a repository, and takes uploads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

MAIN, CONVERTED = "main", "refs/convert/parquet"
TOKEN = "hf_of_the_tests"
LARGE = 10_000  # bytes from which a file is redirected, as large files are
HUB, CONTENT = "hub", "content"


@dataclass(frozen=True)
class Asked:
    """One request: to which of the two servers, what for, with which token and range, and what was answered."""

    server: str
    method: str
    path: str
    token: str
    range: str
    status: int
    size: int


@dataclass
class Repository:
    """One repository: its commits with their files, and the revisions that name commits.

    Attributes:
        needs_token: whether others see it: private.
        gated: whether even a token does not help.
        card: data of its card.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    needs_token: bool = False
    gated: bool = False
    private: bool = False
    card: dict[str, Any] = field(default_factory=dict)

    def at(self, revision: str) -> str | None:
        """Return the commit of a revision."""
        return revision if revision in self.commits else self.revisions.get(revision)


class LoopbackHub:
    """The hub and its content server; use as a context.

    Attributes:
        repositories: by "models/OWNER/NAME" and "datasets/OWNER/NAME".
        asked: all requests so far.
        breaks: how often the connection of a download breaks off in its middle, by the file's path.
        redirects: where a file leads, in place of the content server, by its path.
        waits: seconds before a file is sent, by its path.
        stranger: status of every answer, where it is not 0: a hub that does not work.
        ignores_ranges: whether whole files are sent where a part is asked for.
        refuses_uploads: whether the content server takes no files.
        rewrites: what a repository's description says in place of the truth, by its name.
        uploaded: files that were uploaded and are in no commit yet, by their SHA-256.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.asked: list[Asked] = []
        self.breaks: dict[str, int] = {}
        self.redirects: dict[str, str] = {}
        self.waits: dict[str, float] = {}
        self.stranger = 0
        self.ignores_ranges = False
        self.refuses_uploads = False
        self.rewrites: dict[str, Any] = {}
        self.uploaded: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._servers = [_Server(self, name) for name in (HUB, CONTENT)]

    def __enter__(self) -> LoopbackHub:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def endpoint(self) -> str:
        """Return the hub's address."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def content(self) -> str:
        """Return the content server's address."""
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    @property
    def received(self) -> int:
        """Return how many bytes were sent to whoever asked."""
        return sum(each.size for each in self.asked)

    def environment(self, home: Path, *, token: str = "") -> dict[str, str]:
        """Return the variables with which huggingface_hub uses this hub, with a cache of its own."""
        variables = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",  # large files by plain HTTP
            "NO_PROXY": "127.0.0.1",
        }
        return {**variables, "HF_TOKEN": token} if token else variables

    def put(
        self, name: str, files: Mapping[str, bytes], *, kind: str = "models", revision: str = MAIN, **marks: Any
    ) -> str:
        """Make a commit of a repository and return it.

        Args:
            name: OWNER/NAME.
            files: all files of the commit, by their paths.
            kind: "models" or "datasets".
            revision: the branch that moves to it.
            marks: of the repository: needs_token, gated, card.
        """
        repository = self.repositories.setdefault(f"{kind}/{name}", Repository())
        for key, value in marks.items():
            setattr(repository, key, value)
        told = json.dumps([name, revision, sorted((path, _sha256(data)) for path, data in files.items())])
        commit = hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()
        repository.commits[commit] = dict(files)
        repository.revisions[revision] = commit
        return commit

    def put_folder(self, name: str, folder: Path, **options: Any) -> str:
        """Make a commit of the files in a folder."""
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return self.put(name, files, **options)

    def requests(self, server: str = "", path: str = "") -> list[Asked]:
        """Return the requests to one server whose path holds a text."""
        return [each for each in self.asked if each.server == (server or each.server) and path in each.path]

    def forget(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self.asked.clear()

    def note(self, asked: Asked) -> None:
        """Count a request."""
        with self._lock:
            self.asked.append(asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: LoopbackHub, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub, self.name = hub, name


class _Broken(Exception):
    """The connection is to end in the middle of a file."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Write nothing: requests are counted."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub, parts = self.server.hub, urlsplit(self.path)
        path = unquote(parts.path)
        try:
            if hub.stranger:
                return self._send(hub.stranger, b"out of order")
            if self.server.name == CONTENT:
                return self._content(path, body)
            if path.startswith("/api/"):
                return self._api(path.removeprefix("/api/"), parse_qs(parts.query), body)
            if path.endswith("/info/lfs/objects/batch"):
                return self._large_files(json.loads(body))
            return self._resolve(path.removeprefix("/"))
        except _Broken:
            self.close_connection = True
            self.connection.close()

    def _api(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        hub = self.server.hub
        if path == "whoami-v2":
            return self._json({"name": "me", "type": "user", "orgs": []})
        if path == "repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
            if not self._may_write():
                return self._refuse(401, "", "Invalid credentials in Authorization header")
            if f"models/{name}" in hub.repositories:
                return self._send(409, json.dumps({"url": f"{hub.endpoint}/{name}"}).encode())
            private = wanted.get("private", wanted.get("visibility") == "private")
            hub.put(name, {}, private=bool(private))
            return self._json({"url": f"{hub.endpoint}/{name}", "name": name, "id": name})
        if path == "validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path in ("models", "datasets"):
            return self._list(path, query)
        match = re.fullmatch(r"(models|datasets)/([^/]+/[^/]+)(?:/(revision|preupload|commit)/(.+))?", path)
        if match is None:
            return self._refuse(404, "", "Not found")
        kind, name, what, revision = match.groups()
        repository = self._allowed(f"{kind}/{name}")
        if repository is None:
            return None
        if what == "preupload":
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if f["size"] > LARGE else "regular", "shouldIgnore": False}
                for f in files
            ]
            return self._json({"files": modes})
        if what == "commit":
            return self._commit(name, repository, body)
        commit = repository.at(revision or MAIN)
        if commit is None:
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        files = repository.commits[commit]
        siblings = [
            {"rfilename": path, "size": len(data), "blobId": _sha256(data)[:40]} for path, data in files.items()
        ]
        told = {
            "id": name,
            "sha": commit,
            "private": repository.needs_token or repository.private,
            "gated": False,
            "siblings": siblings,
        }
        told |= {"tags": [], "downloads": 0, "likes": 0, "cardData": repository.card}
        return self._json({**told, **hub.rewrites.get(name, {})})

    def _list(self, kind: str, query: dict[str, list[str]]) -> None:
        author, word = query.get("author", [""])[0], query.get("search", [""])[0].lower()
        names = [key.partition("/")[2] for key in sorted(self.server.hub.repositories) if key.startswith(f"{kind}/")]
        found = [
            name for name in names if name.split("/")[0] == (author or name.split("/")[0]) and word in name.lower()
        ]
        self._json([{"id": name, "tags": [], "private": False, "downloads": 0, "likes": 0} for name in found])

    def _resolve(self, path: str) -> None:
        match = re.fullmatch(r"(datasets/)?([^/]+/[^/]+)/resolve/(refs/convert/[^/]+|refs/pr/\d+|[^/]+)/(.+)", path)
        if match is None:
            return self._refuse(404, "", "Not found")
        dataset, name, revision, file = match.groups()
        repository = self._allowed(f"{'datasets' if dataset else 'models'}/{name}")
        if repository is None:
            return None
        commit = repository.at(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound", "Invalid rev id")
        data = repository.commits[commit].get(file)
        if data is None:
            return self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        etag = f'"{_sha256(data)}"'
        headers = {"X-Repo-Commit": commit, "ETag": etag, "Accept-Ranges": "bytes"}
        if len(data) < LARGE and file not in self.server.hub.redirects:
            return self._file(file, data, headers)
        place = self.server.hub.redirects.get(file) or f"{self.server.hub.content}/{_sha256(data)}/{file}"
        linked = {"X-Linked-Etag": etag, "X-Linked-Size": str(len(data)), "Location": place}
        return self._send(302, b"", {**headers, **linked})

    def _content(self, path: str, body: bytes) -> None:
        hub = self.server.hub
        digest, _, file = path.removeprefix("/").partition("/")
        if self.command == "PUT" and hub.refuses_uploads:
            return self._refuse(403, "", "no")
        if self.command == "PUT":
            hub.uploaded[digest] = body
            return self._send(200, b"", {"ETag": f'"{digest}"'})
        for repository in hub.repositories.values():
            for files in repository.commits.values():
                data = files.get(file)
                if data is not None and _sha256(data) == digest:
                    return self._file(file, data, {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"})
        return self._refuse(404, "", "Not found")

    def _large_files(self, wanted: dict[str, Any]) -> None:
        content = self.server.hub.content
        objects = [
            {**each, "actions": {"upload": {"href": f"{content}/{each['oid']}", "header": {}}}}
            for each in wanted["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects}, "application/vnd.git-lfs+json")

    def _commit(self, name: str, repository: Repository, body: bytes) -> None:
        if not self._may_write():
            return self._refuse(403, "", "You have no rights for this")
        files = dict(repository.commits[repository.revisions[MAIN]])
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.hub.uploaded[value["oid"]]
        commit = self.server.hub.put(name, files)
        return self._json(
            {"commitUrl": f"{self.server.hub.endpoint}/{name}/commit/{commit}", "commitOid": commit, "success": True}
        )

    def _allowed(self, key: str) -> Repository | None:
        """Return a repository that the one who asks may see; answer with the hub's own errors otherwise."""
        repository = self.server.hub.repositories.get(key)
        token = self._token()
        if token and token != TOKEN:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif repository is None or (repository.needs_token and not token):
            self._refuse(401 if not token else 404, "RepoNotFound", "Repository not found")
        elif repository.gated:
            self._refuse(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        else:
            return repository
        return None

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _may_write(self) -> bool:
        return self._token() == TOKEN

    def _file(self, path: str, data: bytes, headers: Mapping[str, str]) -> None:
        hub, asked = self.server.hub, self.headers.get("Range", "")
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        start, end, status = 0, len(data), 200
        more = {}
        if match and not hub.ignores_ranges:
            start, end, status = int(match[1]), min(int(match[2] or len(data)) + 1, len(data)), 206
            if start >= len(data):
                return self._refuse(416, "", "out of range", {"Content-Range": f"bytes */{len(data)}"})
            more = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        piece = data[start:end]
        if self.command == "GET" and path in hub.waits:
            time.sleep(hub.waits[path])
        if self.command == "GET" and hub.breaks.get(path):
            hub.breaks[path] -= 1
            self._send(status, piece, {**headers, **more}, most=len(piece) // 2)
            raise _Broken
        return self._send(status, piece, {**headers, **more})

    def _json(self, value: object, kind: str = "application/json") -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": kind})

    def _refuse(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        told = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        self._send(
            status, json.dumps({"error": message}).encode(), {key: value for key, value in told.items() if value}
        )

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, most: int | None = None
    ) -> None:
        sent = b"" if self.command == "HEAD" else body[:most]
        self.server.hub.note(
            Asked(
                self.server.name,
                self.command,
                unquote(self.path),
                self._token(),
                self.headers.get("Range", ""),
                status,
                len(sent),
            )
        )
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(sent)
            self.wfile.flush()
        except OSError:  # whoever asked had enough
            self.close_connection = True


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def used_here(hub: LoopbackHub, home: Path, token: str = "") -> Iterator[None]:
    """Let this process's huggingface_hub use a hub, whatever its variables were when it was imported."""
    import pytest
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.endpoint)
        patch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HOME", str(home))
        patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        patch.setattr(constants, "HF_ASSETS_CACHE", str(home / "assets"))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        patch.setattr(_http, "_HUB_ORIGINS", frozenset({_http._url_origin(hub.endpoint)}))
        patch.setenv("HF_TOKEN", token) if token else patch.delenv("HF_TOKEN", raising=False)
        yield
