"""The studio's server: Gradio's page, own files under /studio, downloads by token; loads nothing from other hosts."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from esm_viz.core.assets_folder import assets_folder
from esm_viz.core.errors import EsmVizError, RecipeError
from esm_viz.hub.recipe_names import found_in_cache
from esm_viz.inspection.recipe_file import load_recipe
from esm_viz.papers.hub_names import with_class_names
from esm_viz.project.project import Project
from esm_viz.runtime.freed_memory import few_heaps
from esm_viz.runtime.recorded_results import RecordedResults
from esm_viz.runtime.stage_cache import StageCache
from esm_viz.ui.components.gradio_private import has_password
from esm_viz.ui.page.header_bar import CODE_ROUTE, RECIPE_ROUTE
from esm_viz.ui.page.page_update import TABS
from esm_viz.ui.page.studio_page import Studio
from esm_viz.ui.server import join_page, temporary_folders
from esm_viz.ui.server.call_schema import handlers
from esm_viz.ui.server.request_gate import GateState, RequestGate
from esm_viz.ui.server.server_address import Site
from esm_viz.ui.server.static_assets import PLOTLY_ROUTE, SHEETS, Preload, plotly_script
from esm_viz.ui.server.visitor_limits import USUAL, Limits
from esm_viz.ui.session.share_link import link_of, write
from esm_viz.ui.tabs.export.export_tab import ROUTE

ASSETS = assets_folder() / "ui"
DEMO = assets_folder() / "demo" / "recipe.yaml"
OPENING = DEMO.with_name("opening.json")  # recorded results of the demo, made by `esm_viz.demo.opening_results`
HEAD = "".join(f'<link rel="stylesheet" href="./studio/ui/{sheet}.css">' for sheet in SHEETS)
_PRIVATE = {"Cache-Control": "no-store"}


def build(
    recipe: str | Path | None = None,
    device: str = "auto",
    cache: StageCache | None = None,
    folder: Path | None = None,
    limits: Limits = USUAL,
    state: Path | None = None,
    hub: bool = False,
) -> Studio:
    """Open a recipe, by default the demo's, and return the studio on it; names in it must be downloaded already.

    Raises:
        EsmVizError: the recipe or its files are wrong.
    """
    path = Path(recipe) if recipe else DEMO
    opening = with_class_names(found_in_cache(load_recipe(path, ask_hub=False)))
    project = Project.open(opening, device=device, cache=cache)
    if path.resolve() == DEMO.resolve():
        project.recorded = RecordedResults.read(OPENING)
    if project.recorded is None:
        project.prepare()
    name = "Demo" if path.resolve() == DEMO.resolve() else path.resolve().parent.name
    return Studio(project, name, device, folder, limits, state, hub)


def serve(
    recipe: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    device: str = "auto",
    share: bool = False,
    block: bool = True,
    cache: StageCache | None = None,
    folder: Path | None = None,
    limits: Limits = USUAL,
    address: str = "",
    auth: Sequence[tuple[str, str]] = (),
    state: Path | None = None,
    aliases: Sequence[str] = (),
    framers: Sequence[str] = (),
    hub: bool | None = None,
) -> Studio:
    """Build the studio and serve it until interrupted.

    Args:
        recipe: a recipe file; by default the demo's.
        host: address to listen on.
        port: port to listen on.
        device: "auto", "cpu" or "cuda".
        share: make a public link.
        block: wait until interrupted; False returns at once, for tests.
        cache: cache of all projects' stages; by default limited to a quarter of memory.
        folder: folder whose projects visitors may open by name; None to allow none.
        limits: limits of one visitor.
        address: public address, `http://NAME:PORT`; found automatically if empty.
        auth: passwords by name; empty for no password.
        state: private folder that keeps sessions for restarts; None to keep nothing.
        aliases: further host names of the server.
        framers: other origins whose pages may show the studio in a frame.
        hub: whether visitors may make this server download from a hub; None for those of this machine alone.

    Raises:
        EsmVizError: the recipe or its files are wrong, or the port is taken.
    """
    few_heaps()
    _keep_uploads_private()
    site = Site(host, port, address, share, tuple(aliases), tuple(framers))
    studio = build(recipe, device, cache, folder, limits, state, may_download(site, hub))
    atexit.register(studio.close)
    try:
        _, _, public = studio.blocks.launch(
            server_name=host,
            server_port=port,
            share=share,
            auth=list(auth) or None,
            quiet=True,
            run_history=False,
            footer_links=[],
            favicon_path=ASSETS / "icon.png",
            ssr_mode=False,
            pwa=False,
            show_error=False,
            max_file_size=max(1, limits.uploads),
            head=HEAD,
            app_kwargs=app_settings(studio, site),
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise RecipeError(f"nothing can listen on {host}:{port}", "choose another --port", "command line") from error
    if share and not address:
        site.address = (public or "").rstrip("/")  # empty if the tunnel could not be made
    print(f"esm_viz: {site.url()}/  (for the wall, with a code to scan: {site.url()}/{join_page.PAGE})", flush=True)
    if not auth and not site.local_only:
        print("esm_viz: whoever reaches this address may come in; --auth asks for a password", flush=True)
    if block:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that visitors' files are deleted then too
        studio.blocks.block_thread()
    return studio


def may_download(site: Site, asked: bool | None) -> bool:
    """Say whether visitors may make this server download from a hub.

    Args:
        site: the server's address.
        asked: what the operator said; None for nothing, which allows it to visitors of this machine alone.
    """
    return (site.local_only and not site.shared) if asked is None else asked


def app_settings(studio: Studio, site: Site) -> dict[str, Any]:
    """Return arguments for Gradio's application: the studio's routes, and the request filter before all routes."""
    watch = GateState(site, studio.inbox, handlers(studio.blocks))
    return {
        "routes": routes(studio, site),
        "middleware": [Middleware(RequestGate, watch=watch), Middleware(Preload)],
        "docs_url": None,
        "redoc_url": None,
    }


def _keep_uploads_private() -> None:
    """Make Gradio write uploads to a new private folder with a random name, which is deleted with the server.

    Also delete the folders that killed servers have left.
    """
    temporary_folders.clear()
    around = os.environ.get("GRADIO_TEMP_DIR")
    if around:
        Path(around).mkdir(parents=True, exist_ok=True)
        temporary_folders.clear(around)
    folder = temporary_folders.make("uploads-", around)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    atexit.register(temporary_folders.remove, folder)


def routes(studio: Studio, site: Site) -> list[Route | Mount]:
    """Return the routes besides Gradio's own."""

    def download(request: Request) -> Response:
        path = studio.store.file(request.path_params["token"], request.path_params["name"])
        if path is None:
            return PlainTextResponse("This download has expired, write the model again.", status_code=404)
        return FileResponse(path, filename=path.name, headers=_PRIVATE)  # an attachment

    def recipe(request: Request) -> Response:
        session = studio.store.ticket(request.path_params["ticket"])
        return _recipe(session.recipe.to_yaml() if session else None)

    def before(request: Request) -> Response:
        session = studio.store.ticket(request.path_params["ticket"])
        return _recipe(session.lost.recipe if session and session.lost else None)

    def join(request: Request) -> Response:
        url, here = site.url(request.headers), studio.store.here()
        page = join_page.page(url, here, has_password(request), site.local_only)
        return HTMLResponse(page, headers={"Content-Security-Policy": join_page.POLICY} | _PRIVATE)

    def here(_: Request) -> Response:
        return JSONResponse({"here": join_page.visitors_sentence(studio.store.here())}, headers=_PRIVATE)

    def code(request: Request) -> Response:
        """Return the QR code of a link to a page's state, or of the server's address if no tab is given."""
        session, url, tab = studio.store.ticket(request.path_params["ticket"]), site.url(request.headers), _tab(request)
        if session is None:
            return PlainTextResponse("This page has expired, reload it.", status_code=404)
        try:
            to = join_page.link(url, tab, write(link_of(session))) if tab else f"{url}/"
            drawn = join_page.code(to, "Code that opens what is on screen" if tab else f"Code that opens {url}")
        except EsmVizError as error:
            return PlainTextResponse(str(error), status_code=400)
        said = {
            "code": drawn,
            "address": join_page.short(url),
            "here": join_page.visitors_sentence(studio.store.here()),
        }
        return JSONResponse(said, headers=_PRIVATE)

    return [
        Route("/" + PLOTLY_ROUTE, plotly_script),
        Mount("/studio/ui", StaticFiles(directory=ASSETS)),
        Route("/" + ROUTE + "/{token}/{name}", download),
        Route("/" + RECIPE_ROUTE + "/{ticket}/recipe.yaml", recipe),
        Route("/" + RECIPE_ROUTE + "/{ticket}/before.yaml", before),
        Route("/" + CODE_ROUTE + "/{ticket}", code),
        Route("/" + join_page.PAGE, join),
        Route("/" + join_page.HERE, here),
    ]


def _recipe(text: str | None) -> Response:
    if text is None:
        return PlainTextResponse("This page has expired, reload it.", status_code=404)
    headers = {"Content-Disposition": 'attachment; filename="recipe.yaml"'} | _PRIVATE
    return Response(text, media_type="application/yaml", headers=headers)


def _tab(request: Request) -> str:
    """Return the tab in a request if it exists; empty otherwise."""
    tab = request.query_params.get("tab", "")
    return tab if tab in {known.name for known in TABS} else ""
