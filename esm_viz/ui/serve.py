"""Serve the studio: our own files under /studio, downloads under tokens, nothing asked from another host."""

from __future__ import annotations

import atexit
import os
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from esm_viz import load_recipe
from esm_viz.cache import StageCache
from esm_viz.pipeline import Project
from esm_viz.recall import Answers
from esm_viz.ui.assets import PLOTLY_ROUTE, SHEETS, Preload, plotly_script
from esm_viz.ui.bar import RECIPE_ROUTE
from esm_viz.ui.export import ROUTE
from esm_viz.ui.studio import Studio

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "assets" / "ui"
DEMO = ROOT / "assets" / "demo" / "recipe.yaml"
OPENING = DEMO.with_name("opening.json")  # what the demo's opening page shows, made by `esm_viz.demo.opening`
HEAD = "".join(f'<link rel="stylesheet" href="./studio/ui/{sheet}.css">' for sheet in SHEETS)
UPLOAD_LIMIT = "8gb"


def build(
    recipe: str | Path | None = None,
    device: str = "auto",
    cache: StageCache | None = None,
    folder: Path | None = None,
) -> Studio:
    """Open a recipe, the demo where none is given, and return the studio on it.

    Raises:
        EsmVizError: the recipe or its files are wrong.
    """
    path = Path(recipe) if recipe else DEMO
    project = Project.open(load_recipe(path), device=device, cache=cache)
    if path.resolve() == DEMO.resolve():
        project.answers = Answers.read(OPENING)
    if project.answers is None:
        project.prepare()
    name = "Demo" if path.resolve() == DEMO.resolve() else path.resolve().parent.name
    return Studio(project, name, device, folder)


def serve(
    recipe: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    device: str = "auto",
    share: bool = False,
    block: bool = True,
    cache: StageCache | None = None,
    folder: Path | None = None,
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

    Raises:
        EsmVizError: the recipe or its files are wrong.
    """
    studio = build(recipe, device, cache, folder)
    atexit.register(studio.store.close)
    studio.blocks.launch(
        server_name=host,
        server_port=port,
        share=share,
        quiet=False,
        run_history=False,
        footer_links=[],
        favicon_path=ASSETS / "icon.png",
        ssr_mode=False,
        pwa=False,
        show_error=False,
        max_file_size=UPLOAD_LIMIT,
        head=HEAD,
        app_kwargs={
            "routes": routes(studio),
            "middleware": [Middleware(Preload)],
            "docs_url": None,
            "redoc_url": None,
        },
        prevent_thread_lock=not block,
    )
    return studio


def routes(studio: Studio) -> list[Route | Mount]:
    """Return what is served beside Gradio's own pages."""

    def download(request: Request) -> Response:
        path = studio.store.file(request.path_params["token"], request.path_params["name"])
        if path is None:
            return PlainTextResponse("This download has expired, write the model again.", status_code=404)
        return FileResponse(path, filename=path.name, headers={"X-Content-Type-Options": "nosniff"})  # an attachment

    def recipe(request: Request) -> Response:
        session = studio.store.ticket(request.path_params["ticket"])
        if session is None:
            return PlainTextResponse("This page has expired, reload it.", status_code=404)
        headers = {"Content-Disposition": 'attachment; filename="recipe.yaml"'}
        return Response(session.recipe.to_yaml(), media_type="application/yaml", headers=headers)

    return [
        Route("/" + PLOTLY_ROUTE, plotly_script),
        Mount("/studio/ui", StaticFiles(directory=ASSETS)),
        Route("/" + ROUTE + "/{token}/{name}", download),
        Route("/" + RECIPE_ROUTE + "/{ticket}/recipe.yaml", recipe),
    ]
