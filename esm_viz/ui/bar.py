"""The header: name, what is loaded, where it runs, and the line that says what is being done."""

from __future__ import annotations

from typing import Any

from esm_viz.figures.words import safe
from esm_viz.ui import merge
from esm_viz.ui.html import BAD, BRAND, DOWNLOAD, OK, REDO, THEME, UNDO, button
from esm_viz.ui.jobs import Job
from esm_viz.ui.store import EVERYTHING, Session

CALM = 0.5  # seconds before a job gets a bar; shorter ones only flicker
RECIPE_ROUTE = "studio-recipe"
BRAND_NAME = f'<h1 class="brand">{BRAND}esm_viz</h1>'
SEPARATOR = '<span class="sep"></span>'
GONE = "This page has expired, reload it"


def bar(session: Session) -> dict[str, Any]:
    """Return the header; `busy` makes the page ask again."""
    project = session.project
    loaded = f"<b>{safe(session.name)} · {len(project.tasks)} tasks</b> · {arch_text(project.inspection.arch)}"
    buttons = (
        _arrow("undo", UNDO, "Undo", session.at > 0)
        + _arrow("redo", REDO, "Redo", session.at + 1 < len(session.history))
        + button("theme", THEME, "q sq", title="Light or dark")
        + f'<a class="btn" href="./{RECIPE_ROUTE}/{session.ticket}/recipe.yaml" download>{DOWNLOAD}Recipe</a>'
    )
    device = f'<span class="meta">{_device(project.device)}</span>'
    parts = [BRAND_NAME, f'<span class="meta">{loaded}</span>', device + _line(session), buttons]
    html = f'<header class="hdr">{SEPARATOR.join(parts)}</header>'
    return {"html": html, "busy": session.busy}


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Cancel what runs, or do what the Merge tab does: undo, redo, unpin."""
    if message.get("do") == "cancel":
        session.stop()
        return (EVERYTHING,)
    return merge.act(session, message)


def arch_text(arch: str) -> str:
    """Return the architecture's name with a true multiplication sign."""
    return safe(arch).replace(" x ", " × ")


def gone() -> dict[str, Any]:
    """Return the header of a page whose session is over."""
    line = f'<div class="job bad" role="status">{BAD}<span class="what">{GONE}</span></div>'
    return {"html": f'<header class="hdr">{BRAND_NAME}{line}</header>', "busy": False}


def _device(device: str) -> str:
    return {"cpu": "CPU", "cuda": "GPU"}.get(device, safe(device))


def _arrow(act: str, icon: str, title: str, on: bool) -> str:
    return button(act, icon, "q sq", title=title, off=not on)


def _line(session: Session) -> str:
    """Return what is being done, or what went wrong, or that all is up to date."""
    for job in (session.task, session.live, session.close_look, session.look):
        if job is not None and job.running:
            return _running(job)
    wrong = next((session.errors[place] for place in ("board", "export", "live") if place in session.errors), "")
    if wrong:
        text = safe(wrong)
        return f'<div class="job bad" role="status">{BAD}<span class="what" title="{text}">{text}</span></div>'
    return f'<div class="job" role="status">{OK}<span>Up to date</span></div>'


def _running(job: Job) -> str:
    if job.age < CALM:
        return '<div class="job" role="status"><span class="what">Updating</span></div>'
    done = round(100 * job.fraction)
    left = ""
    if job.age > 2 and job.fraction > 0.05:  # enough to tell
        left = f", {max(1, round(job.age * (1 - job.fraction) / job.fraction))} s left"
    words = f" · {safe(job.words)}" if job.tells and job.words else ""
    return (
        f'<div class="job" role="status" title="{safe(job.words)}"><span class="what">{safe(job.what)}{words}</span>'
        f'<span class="meter"><i style="width:{done}%"></i></span><span>{done} %{left}</span>'
        f"{button('cancel', 'Cancel', 'q link')}</div>"
    )
