"""Serve the studio: our own files under /studio, downloads under tokens, nothing asked from another host."""

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
from esm_viz.inspection.recipe_file import load_recipe
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
from esm_viz.ui.server.request_gate import Guard, Watch
from esm_viz.ui.server.server_address import Site
from esm_viz.ui.server.static_assets import PLOTLY_ROUTE, SHEETS, Preload, plotly_script
from esm_viz.ui.server.visitor_limits import USUAL, Limits
from esm_viz.ui.session.share_link import link_of, write
from esm_viz.ui.tabs.export.export_tab import ROUTE

ASSETS = assets_folder() / "ui"
DEMO = assets_folder() / "demo" / "recipe.yaml"
OPENING = DEMO.with_name("opening.json")  # what the demo's opening page shows, made by `esm_viz.demo.opening_results`
HEAD = "".join(f'<link rel="stylesheet" href="./studio/ui/{sheet}.css">' for sheet in SHEETS)
_PRIVATE = {"Cache-Control": "no-store"}


def build(
    recipe: str | Path | None = None,
    device: str = "auto",
    cache: StageCache | None = None,
    folder: Path | None = None,
    limits: Limits = USUAL,
    state: Path | None = None,
) -> Studio:
    """Open a recipe, the demo where none is given, and return the studio on it.

    Raises:
        EsmVizError: the recipe or its files are wrong.
    """
    path = Path(recipe) if recipe else DEMO
    project = Project.open(load_recipe(path), device=device, cache=cache)
    if path.resolve() == DEMO.resolve():
        project.recorded = RecordedResults.read(OPENING)
    if project.recorded is None:
        project.prepare()
    name = "Demo" if path.resolve() == DEMO.resolve() else path.resolve().parent.name
    return Studio(project, name, device, folder, limits, state)


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
) -> Studio:
    """Build the studio and serve it until interrupted.

    Args:
        recipe: a recipe file; the demo where None.
        host: address to listen on.
        port: port to listen on.
        device: "auto", "cpu" or "cuda".
        share: make a public link.
        block: wait until interrupted; False returns at once, for tests.
        cache: of all projects' stages; a quarter of memory where None.
        folder: whose projects visitors may open by name; none where None.
        limits: what one visitor may have.
        address: by which others reach it, `http://NAME:PORT`; found where empty.
        auth: names with their passwords; nobody is asked where empty.
        state: private folder from which sessions come back after a restart; nothing is kept where None.
        aliases: more names by which others reach it.
        framers: origins whose pages may show the studio in a frame; none but its own where empty.

    Raises:
        EsmVizError: the recipe or its files are wrong, or the port is taken.
    """
    few_heaps()
    _keep_uploads_private()
    studio = build(recipe, device, cache, folder, limits, state)
    atexit.register(studio.close)
    site = Site(host, port, address, share, tuple(aliases), tuple(framers))
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
        site.address = (public or "").rstrip("/")  # none where the tunnel could not be made
    print(f"esm_viz: {site.url()}/  (for the wall, with a code to scan: {site.url()}/{join_page.PAGE})", flush=True)
    if not auth and not site.local_only:
        print("esm_viz: whoever reaches this address may come in; --auth asks for a password", flush=True)
    if block:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that files of visitors go then too
        studio.blocks.block_thread()
    return studio


def app_settings(studio: Studio, site: Site) -> dict[str, Any]:
    """Return what Gradio's application is made with: our routes, and the gate before all of them."""
    watch = Watch(site, studio.inbox, handlers(studio.blocks))
    return {
        "routes": routes(studio, site),
        "middleware": [Middleware(Guard, watch=watch), Middleware(Preload)],
        "docs_url": None,
        "redoc_url": None,
    }


def _keep_uploads_private() -> None:
    """Have Gradio put uploads in a new folder that nobody else can guess or read, and that goes with the server.

    What servers that were killed have left goes now.
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
    """Return what is served beside Gradio's own pages."""

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
        return JSONResponse({"here": join_page.told_here(studio.store.here())}, headers=_PRIVATE)

    def code(request: Request) -> Response:
        """Return the code of a link to what a page shows, and that of the server where no tab is named."""
        session, url, tab = studio.store.ticket(request.path_params["ticket"]), site.url(request.headers), _tab(request)
        if session is None:
            return PlainTextResponse("This page has expired, reload it.", status_code=404)
        try:
            to = join_page.link(url, tab, write(link_of(session))) if tab else f"{url}/"
            drawn = join_page.code(to, "Code that opens what is on screen" if tab else f"Code that opens {url}")
        except EsmVizError as error:
            return PlainTextResponse(str(error), status_code=400)
        said = {"code": drawn, "address": join_page.short(url), "here": join_page.told_here(studio.store.here())}
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
    """Return the tab that a request names, if there is such a one."""
    tab = request.query_params.get("tab", "")
    return tab if tab in {known.name for known in TABS} else ""
