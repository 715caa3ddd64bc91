"""A page of the studio without a browser: raw HTTP as Gradio's own page sends it, with the polling of ours.

No client library: it costs more of the processor than the handlers that are measured. One page is three connections at
most, as in a browser: messages, the question for late results, and the heartbeat whose end tells the server that the
page was closed.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any

PREFIX = "/gradio_api"
Pieces = dict[str, dict[str, Any]]


class Wire:
    """One connection that is kept open, for one request after the other."""

    def __init__(self, port: int) -> None:
        """Connect with the first request."""
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, method: str, path: str, body: object = None) -> bytes:
        """Return the body of the answer.

        Raises:
            OSError: the server refused, or hung up.
        """
        sent = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
        async with self._turn:
            kept = self._streams is not None
            try:
                status, found = await self._send(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
            except (asyncio.IncompleteReadError, ConnectionError):
                self.close()
                if not kept:
                    raise
                # the server ends a connection that nobody used for some seconds; a browser makes a new one
                status, found = await self._send(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
        if " 200 " not in status:
            raise ConnectionError(f"{path}: {status} {found[:200]!r}")
        return found

    async def _send(self, request: bytes) -> tuple[str, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        length = next(int(line[15:]) for line in head if line.startswith("content-length:"))
        return head[0], await reader.readexactly(length)

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Server:
    """What a page knows of its server: which event of which component is which function."""

    def __init__(self, port: int, config: dict[str, Any]) -> None:
        """Read the page's configuration."""
        self.port = port
        self.names = {part["id"]: part["props"].get("elem_id") or "" for part in config["components"]}
        self.painted: Pieces = {}  # as the server made the page, before any visitor's
        for part in config["components"]:
            value = part["props"].get("value")
            if isinstance(value, str) and value.startswith('{"v":'):
                self.painted[self.names[part["id"]]] = json.loads(value)
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        for event in config["dependencies"]:
            for target, kind in event["targets"]:
                self.events[self.names.get(target, ""), kind] = event

    @classmethod
    async def of(cls, port: int) -> Server:
        """Ask a running server for its configuration."""
        wire = Wire(port)
        config = json.loads(await wire.ask("GET", "/config"))
        wire.close()
        return cls(port, config)


class Page:
    """One visitor's page. `seen` is called with every answer's pieces, by name, as soon as it is read."""

    def __init__(self, server: Server, seen: Callable[[Pieces], None] = lambda pieces: None) -> None:
        """Make a page that is not open yet."""
        self.server, self.seen = server, seen
        self.hash, self.id = secrets.token_hex(6), ""
        self.pieces: Pieces = dict(server.painted)
        self._messages, self._late = Wire(server.port), Wire(server.port)
        self._beat: asyncio.StreamWriter | None = None
        self._asking: asyncio.Task[None] | None = None
        self.bytes = 0

    async def open(self, known: str = "") -> None:
        """Open the page as a browser that keeps this session's id."""
        _, self._beat = await asyncio.open_connection("127.0.0.1", self.server.port)
        self._beat.write(f"GET {PREFIX}/heartbeat/{self.hash} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await self._call(self._messages, ("", "load"), [known], None)

    async def act(self, piece: str, **message: Any) -> None:
        """Send a message of one of the page's pieces and take in what it answers."""
        await self._call(self._messages, (piece, "act"), [self.id], message)

    async def rest(self) -> None:
        """Return once the server has nothing more to tell."""
        while self._asking is not None and not self._asking.done():
            await asyncio.sleep(0.02)

    def close(self) -> None:
        """Close the page as a browser does: its connections end."""
        if self._asking is not None:
            self._asking.cancel()
        for wire in (self._messages, self._late):
            wire.close()
        if self._beat is not None:
            self._beat.close()

    async def _call(self, wire: Wire, event: tuple[str, str], data: list[Any], message: object) -> None:
        found = self.server.events[event]
        body = {"fn_index": found["id"], "data": data, "event_data": message, "session_hash": self.hash}
        raw = await wire.ask("POST", f"{PREFIX}/run/predict", body)
        self.bytes += len(raw)
        pieces = {}
        for part, value in zip(found["outputs"], json.loads(raw)["data"], strict=True):
            if isinstance(value, str) and self.server.names[part] == "page-id":
                self.id = value
            elif isinstance(value, str):
                pieces[self.server.names[part]] = json.loads(value)
        newer = {name: piece for name, piece in pieces.items() if piece["v"] >= self.pieces.get(name, piece)["v"]}
        self.pieces |= newer
        self.seen(newer)
        if self.pieces["bar"]["busy"] and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        """Ask for late results while the server is busy: one question at a time, 10 ms after the last answer."""
        while self.pieces["bar"]["busy"]:
            await asyncio.sleep(0.01)
            await self._call(self._late, ("bar", "tick"), [self.id], {})
