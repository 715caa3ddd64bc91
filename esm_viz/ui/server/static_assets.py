"""Serving of static assets: plotly.js, compressed once and cached by browsers, and preload headers for scripts."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import plotly
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from esm_viz.figures.html_page import CARD_SCRIPTS

PLOTLY_ROUTE = "studio/plotly/plotly.min.js"
PLOTLY = f"{PLOTLY_ROUTE}?{plotly.__version__}"  # the version is in the address, so browsers may cache it forever
SHEETS = ("tokens", "studio", "header", "card", "load", "explore", "merge", "evaluate", "export", "presenter_view")
SCRIPTS = (*CARD_SCRIPTS, "header", "reconnect", "presenter_view", "keys", "knob_rail")
_KEPT = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
_LEVEL = 6  # of gzip: half a second once; the highest one saves 1 % more


def plotly_script(request: Request) -> Response:
    """Return plotly.js, compressed if the browser accepts that."""
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(_packed(), media_type="text/javascript", headers=_KEPT | {"Content-Encoding": "gzip"})
    return Response(_plain(), media_type="text/javascript", headers=_KEPT)


class Preload:
    """Middleware that adds preload headers to the page, so that scripts and style sheets load with Gradio's."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self.app = app
        files = [(PLOTLY, "script"), *((f"studio/ui/{name}.js", "script") for name in SCRIPTS)]
        files += [(f"studio/ui/{name}.css", "style") for name in SHEETS]
        self.link = ", ".join(f"<./{file}>; rel=preload; as={kind}" for file, kind in files)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add the header if it is for the page."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.append("Link", self.link)
            await send(message)

        page = scope["type"] == "http" and scope["path"] == "/"
        await self.app(scope, receive, add if page else send)


@cache
def _plain() -> bytes:
    return (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()


@cache
def _packed() -> bytes:
    return gzip.compress(_plain(), _LEVEL)
