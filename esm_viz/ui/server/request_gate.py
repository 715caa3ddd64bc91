"""The request filter in front of Gradio: only requests that the page needs, from allowed callers, checked and limited.

Gradio serves far more than this page needs: files by path, addresses of other hosts, server functions, saved states.
Routes that are not in `OPEN` or `INSIDE` are answered with 404. Gradio's password protects only its own routes; this
filter protects all of them.
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
from esm_viz.ui.server.rate_limit import PasswordAttempts, RequestQueues, TooManyRequests
from esm_viz.ui.server.server_address import Site
from esm_viz.ui.server.visitor_limits import CALLS_AT_ONCE, MOST_CALLS, MOST_CONNECTIONS
from esm_viz.ui.uploads.upload_inbox import UploadInbox

CALL, UPLOAD, LOGIN = "/gradio_api/run/predict", "/gradio_api/upload", "/login"
POSTED = (CALL, UPLOAD, LOGIN)
# Routes without a password: join and login page, scripts and style sheets, which hold no private data.
OPEN = re.compile(
    r"/join(?:/here)?|/studio/(?:ui|plotly)/[\w./-]+|/(?:assets|static)/[\w./@~+-]+|(?:/gradio_api)?/theme\.css|/favicon\.ico"
    r"|/robots\.txt|/manifest\.json|/gradio_api/(?:startup-events|app_id)"
)
# Routes after login: the page, its heartbeat, the progress of uploads, downloads by token.
INSIDE = re.compile(
    r"/|/config|/gradio_api/(?:heartbeat/[0-9a-z]{1,32}|upload_progress|info)|/studio-(?:file|recipe|code)/[\w-]{1,64}(?:/[^/]{1,120})?"
)
MOST_FORM = 4096  # bytes of a login form
FRAMING = 64 * 1024  # bytes that a form adds to the files in it
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)  # Gradio compiles its components' templates in the browser, which needs inline scripts and eval
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
OURS = ("none", "same-origin")  # values of Sec-Fetch-Site for requests of the studio's own page
_LOG = logging.getLogger("esm_viz.ui")


class Refused(Exception):
    """A refused request, with its HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)
        self.status, self.sentence = status, sentence


@dataclass
class GateState:
    """The state of the request filter.

    Attributes:
        site: the server's names.
        inbox: its uploads.
        handlers: number of inputs of the handlers that a page may call.
        attempts: wrong passwords.
        calls, logins, open: rate limits of messages per session, and of logins and connections per network address.
    """

    site: Site
    inbox: UploadInbox
    handlers: Mapping[int, int]
    attempts: PasswordAttempts = field(default_factory=PasswordAttempts)
    calls: RequestQueues = field(default_factory=lambda: RequestQueues(CALLS_AT_ONCE, MOST_CALLS))
    logins: RequestQueues = field(default_factory=lambda: RequestQueues(1, MOST_CALLS))
    open: RequestQueues = field(default_factory=lambda: RequestQueues(MOST_CONNECTIONS, MOST_CONNECTIONS))


class RequestGate:
    """The request filter, as ASGI middleware."""

    def __init__(self, app: ASGIApp, watch: GateState) -> None:
        """Wrap an application."""
        self.app, self.watch = app, watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with one sentence."""
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
        except TooManyRequests:
            await _tell(Refused(429, "Too many requests at once, wait a moment"), request, send)
        except EsmVizError as error:
            await _tell(Refused(400, str(error)), request, send)
        except ClientDisconnect:
            return None
        except Exception:  # noqa: BLE001 - a visitor sees a sentence, never a traceback
            _LOG.debug("request", exc_info=True)  # without its path, which may contain tokens
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
        """Refuse requests to a host name that is not this server's, and requests from pages of other sites.

        Raises:
            Refused: it is such a request.
        """
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not self.watch.site.knows(host):
            raise Refused(421, "This server does not go by that name, its operator can add it with --address")
        foreign = origin is not None and not self.watch.site.owns(origin, host)
        if foreign or (request.method == "POST" and request.headers.get("sec-fetch-site", "none") not in OURS):
            raise Refused(403, "This request comes from the page of another site")

    async def _call(self, request: Request, send: Send) -> None:
        """Check a call of a handler and pass it on, within the session's rate limit.

        Raises:
            EsmVizError: a page does not send such a call.
            Refused: its type is not JSON, or it is too long.
            TooMany: its session sends too many.
        """
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise Refused(415, "A message has to be JSON")  # forms of other sites could send plain text
        call = checked_call(await _body(request, MOST_BYTES), self.watch.handlers)
        request.scope.setdefault("state", {})["files"] = call.files
        async with self.watch.calls.turn(call.session_id or caller(request)):
            await self.app(request.scope, _again(call.body, request.receive), send)

    async def _login(self, request: Request, send: Send) -> None:
        """Pass a login on, one at a time per address and not too often.

        Raises:
            Refused: too many passwords were wrong.
            TooMany: too many logins wait.
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
        """Pass an upload on if there is room, and record the sender's address.

        Raises:
            EsmVizError: there is no room.
            Refused: uploads are off, or the length is missing.
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
    """Refuse routes that the page does not use.

    Raises:
        Refused: it is such a route.
    """
    path, query = request.url.path, request.query_params
    posted = request.method == "POST" and path in POSTED
    read = request.method in ("GET", "HEAD") and bool(OPEN.fullmatch(path) or INSIDE.fullmatch(path))
    if not (posted or read) or (path in ("/", "/config") and query.keys() & {"page", "deep_link"}):
        raise Refused(404, "There is no such page here")


def _unlock(request: Request) -> None:
    """Refuse a visitor who has not given the password, if there is one.

    Raises:
        Refused: the route needs the password.
    """
    if is_locked_out(request) and request.url.path != LOGIN and not OPEN.fullmatch(request.url.path):
        raise Refused(401, "This server asks for a password, log in on its first page")


async def _door(request: Request, send: Send) -> None:
    """Answer with the login page."""
    headers = {"Content-Security-Policy": join_page.POLICY, "Cache-Control": "no-store"}
    await HTMLResponse(join_page.login_page(), headers=headers)(request.scope, request.receive, send)


async def _tell(refused: Refused, request: Request, send: Send) -> None:
    await PlainTextResponse(refused.sentence, refused.status)(request.scope, request.receive, send)


async def _body(request: Request, most: int) -> bytes:
    """Return a request's body.

    Raises:
        Refused: it is longer than `most` bytes.
    """
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise Refused(413, f"This request is larger than {size(most)}")
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first gives a body that was read already, and then later messages."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return messages.pop() if messages else await receive()

    return read


def _heard(send: Send, ended: Callable[[int, bytes], None]) -> Send:
    """Return a `send` that calls `ended` with status and body before an answer ends."""
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
    """Return a `send` that adds security headers; pages of the origins in `framers` may show the page in a frame."""

    async def dress(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if headers.get("content-type", "").startswith("text/html"):
                policy = headers.get("Content-Security-Policy", POLICY)  # every policy ends with frame-ancestors
                headers["Content-Security-Policy"] = " ".join((policy, *framers))
            if framers:
                _keep_in_frames(headers)
        await send(message)

    return dress


def _keep_in_frames(headers: MutableHeaders) -> None:
    """Partition the login cookie by the site around a frame, since browsers accept no other cookies in such frames."""
    cookies = headers.getlist("set-cookie")
    del headers["set-cookie"]
    for cookie in cookies:
        framed = "samesite=none" in cookie.lower()
        headers.append("set-cookie", f"{cookie}; Partitioned" if framed else cookie)
