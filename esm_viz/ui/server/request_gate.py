"""The gate in front of Gradio: only what the page asks for goes through, from whom it may come, checked and counted.

Gradio serves far more than this page needs: files by path, addresses of other hosts, server functions, saved states.
What is not in `OPEN` or `INSIDE` does not exist here. Gradio's password guards its own routes alone; here, all of them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from esm_viz.core.errors import EsmVizError
from esm_viz.figures.number_format import size
from esm_viz.ui.components.gradio_private import is_locked_out
from esm_viz.ui.server import join_page
from esm_viz.ui.server.call_schema import MOST_BYTES, checked_call
from esm_viz.ui.server.rate_limit import Attempts, TooMany, Turns
from esm_viz.ui.server.server_address import Site
from esm_viz.ui.server.visitor_limits import CALLS_AT_ONCE, MOST_CALLS, MOST_CONNECTIONS
from esm_viz.ui.uploads.upload_inbox import Inbox

CALL, UPLOAD, LOGIN = "/gradio_api/run/predict", "/gradio_api/upload", "/login"
POSTED = (CALL, UPLOAD, LOGIN)
# What anybody may get, before a password too: the way in, and scripts and sheets, in which nothing is anybody's.
OPEN = re.compile(
    r"/join(?:/here)?|/studio/(?:ui|plotly)/[\w./-]+|/(?:assets|static)/[\w./@~+-]+|(?:/gradio_api)?/theme\.css|/favicon\.ico"
    r"|/robots\.txt|/manifest\.json|/gradio_api/(?:startup-events|app_id)"
)
# What only those inside may get: the page, that it lives, how far an upload is, and downloads under tokens.
INSIDE = re.compile(
    r"/|/config|/gradio_api/(?:heartbeat/[0-9a-z]{1,32}|upload_progress|info)|/studio-(?:file|recipe|code)/[\w-]{1,64}(?:/[^/]{1,120})?"
)
MOST_FORM = 4096  # bytes of a name with its password
FRAMING = 64 * 1024  # bytes that a form adds to the files in it
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)  # Gradio compiles its components' templates in the browser, so that scripts of the page itself are trusted
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
OURS = ("none", "same-origin")  # what a browser says of a request that our own page makes
_LOG = logging.getLogger("esm_viz.ui")


class Refused(Exception):
    """A request that goes no further: its status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)
        self.status, self.sentence = status, sentence


@dataclass
class Watch:
    """What the gate knows of its server.

    Attributes:
        site: its names.
        inbox: its uploads.
        handlers: that a page may call, with the number of their inputs.
        attempts: wrong passwords.
        calls, logins, open: lines of one session's messages, and of one address's passwords and connections.
    """

    site: Site
    inbox: Inbox
    handlers: Mapping[int, int]
    attempts: Attempts = field(default_factory=Attempts)
    calls: Turns = field(default_factory=lambda: Turns(CALLS_AT_ONCE, MOST_CALLS))
    logins: Turns = field(default_factory=lambda: Turns(1, MOST_CALLS))
    open: Turns = field(default_factory=lambda: Turns(MOST_CONNECTIONS, MOST_CONNECTIONS))


class Guard:
    """The gate, as a middleware."""

    def __init__(self, app: ASGIApp, watch: Watch) -> None:
        """Stand before an application."""
        self.app, self.watch = app, watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with one sentence."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(Request(scope, receive), _dressed(send, self.watch.site.framers))
        else:
            await send({"type": "websocket.close"})

    async def _http(self, request: Request, send: Send) -> None:
        begun = False

        async def begin(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._know(request)
            _find(request)
            if is_locked_out(request) and request.url.path == "/":
                return await _door(request, send)
            _unlock(request)
            async with self.watch.open.turn(caller(request)):
                await self._pass(request, begin)
        except Refused as refused:
            await _tell(refused, request, send)
        except TooMany:
            await _tell(Refused(429, "Too many requests at once, wait a moment"), request, send)
        except EsmVizError as error:
            await _tell(Refused(400, str(error)), request, send)
        except ClientDisconnect:
            return None
        except Exception:  # noqa: BLE001 - a visitor sees a sentence, never a traceback
            _LOG.debug("request", exc_info=True)  # not its path: tokens stand in it
            if not begun:
                await _tell(Refused(400, "This request cannot be read"), request, send)
        return None

    async def _pass(self, request: Request, send: Send) -> None:
        posted = {CALL: self._call, UPLOAD: self._upload, LOGIN: self._login}
        if request.method == "POST":
            await posted[request.url.path](request, send)
        else:
            await self.app(request.scope, request.receive, send)

    def _know(self, request: Request) -> None:
        """Refuse who calls this server by a name that is not its own, and pages of other sites.

        Raises:
            Refused: it is one.
        """
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not self.watch.site.knows(host):
            raise Refused(421, "This server does not go by that name, its operator can add it with --address")
        foreign = origin is not None and not self.watch.site.owns(origin, host)
        if foreign or (request.method == "POST" and request.headers.get("sec-fetch-site", "none") not in OURS):
            raise Refused(403, "This request comes from the page of another site")

    async def _call(self, request: Request, send: Send) -> None:
        """Let a message to a handler through, as one of a few of its session.

        Raises:
            EsmVizError: it is not what a page sends.
            Refused: it does not say that it is JSON, or is too long.
            TooMany: its session sends too many.
        """
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise Refused(415, "A message has to be JSON")  # plain text is what a form of another site could send
        call = checked_call(await _body(request, MOST_BYTES), self.watch.handlers)
        request.scope.setdefault("state", {})["files"] = call.files
        async with self.watch.calls.turn(call.session_id or caller(request)):
            await self.app(request.scope, _again(call.body, request.receive), send)

    async def _login(self, request: Request, send: Send) -> None:
        """Let a password be tried, one at a time and not too often.

        Raises:
            Refused: too many were wrong.
            TooMany: too many come at once.
        """
        who, attempts = caller(request), self.watch.attempts
        body = await _body(request, MOST_FORM)

        def ended(status: int, _: bytes) -> None:
            if status != 200:
                attempts.note(who)

        async with self.watch.logins.turn(who):
            if wait := attempts.wait(who):
                raise Refused(429, f"Too many wrong passwords, try again in {wait:.0f} s")
            await self.app(request.scope, _again(body, request.receive), _heard(send, ended))

    async def _upload(self, request: Request, send: Send) -> None:
        """Take files in where there is room, and note whose they are.

        Raises:
            EsmVizError: there is no room.
            Refused: nobody may upload here, or it does not say how much.
        """
        inbox, who = self.watch.inbox, caller(request)
        length = request.headers.get("content-length", "")
        if not inbox.limit:
            raise Refused(403, "Nobody can upload files to this server")
        if not length.isdecimal():
            raise Refused(411, "An upload has to say how large it is")

        def ended(status: int, body: bytes) -> None:
            if status == 200:
                inbox.add(who, orjson.loads(body))

        with inbox.expect(who, max(0, int(length) - FRAMING)):
            await self.app(request.scope, request.receive, _heard(send, ended))


def caller(request: Request) -> str:
    """Return the network address that a request comes from."""
    return request.client.host if request.client else ""


def _find(request: Request) -> None:
    """Refuse what the page never asks for.

    Raises:
        Refused: this is such a thing.
    """
    path, query = request.url.path, request.query_params
    posted = request.method == "POST" and path in POSTED
    read = request.method in ("GET", "HEAD") and bool(OPEN.fullmatch(path) or INSIDE.fullmatch(path))
    if not (posted or read) or (path in ("/", "/config") and query.keys() & {"page", "deep_link"}):
        raise Refused(404, "There is no such page here")


def _unlock(request: Request) -> None:
    """Refuse who has not given the password, where there is one.

    Raises:
        Refused: a stranger asks for more than the way in.
    """
    if is_locked_out(request) and request.url.path != LOGIN and not OPEN.fullmatch(request.url.path):
        raise Refused(401, "This server asks for a password, log in on its first page")


async def _door(request: Request, send: Send) -> None:
    """Ask for the password."""
    headers = {"Content-Security-Policy": join_page.POLICY, "Cache-Control": "no-store"}
    await HTMLResponse(join_page.door(), headers=headers)(request.scope, request.receive, send)


async def _tell(refused: Refused, request: Request, send: Send) -> None:
    await PlainTextResponse(refused.sentence, refused.status)(request.scope, request.receive, send)


async def _body(request: Request, most: int) -> bytes:
    """Return a request's body.

    Raises:
        Refused: it is longer than that.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise Refused(413, f"This request is larger than {size(most)}")
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what reads a body that was read already; after it whatever else comes."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return messages.pop() if messages else await receive()

    return read


def _heard(send: Send, ended: Callable[[int, bytes], None]) -> Send:
    """Return what sends an answer and, before its end, tells what it was."""
    status, body = 0, bytearray()

    async def hear(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                ended(status, bytes(body))
        await send(message)

    return hear


def _dressed(send: Send, framers: Sequence[str]) -> Send:
    """Return what sends an answer with our headers, which let pages of these origins show it in a frame."""

    async def dress(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if headers.get("content-type", "").startswith("text/html"):
                policy = headers.get("Content-Security-Policy", POLICY)  # it ends with frame-ancestors
                headers["Content-Security-Policy"] = " ".join((policy, *framers))
            if framers:
                _keep_in_frames(headers)
        await send(message)

    return dress


def _keep_in_frames(headers: MutableHeaders) -> None:
    """Partition the password's cookie by the site around the frame: browsers keep no other one in a foreign frame."""
    cookies = headers.getlist("set-cookie")
    del headers["set-cookie"]
    for cookie in cookies:
        framed = "samesite=none" in cookie.lower()
        headers.append("set-cookie", f"{cookie}; Partitioned" if framed else cookie)
