"""The header bar: name, project, device, buttons, and the status line of the running job."""

from __future__ import annotations

from typing import Any

from esm_viz.figures.number_format import safe
from esm_viz.ui.components.html_snippets import (
    AFRESH,
    BAD,
    BRAND,
    DOWNLOAD,
    OK,
    REDO,
    SCREEN,
    THEME,
    UNDO,
    arch_text,
    button,
    sentence,
)
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.page import share_link_actions
from esm_viz.ui.session import share_link
from esm_viz.ui.session.search_time_estimate import estimated
from esm_viz.ui.session.session_store import EVERYTHING, Session
from esm_viz.ui.tabs.evaluate.comparison_with_a import compare_models
from esm_viz.ui.tabs.explore import explore_tab
from esm_viz.ui.tabs.merge import merge_tab

CALM = 0.5  # seconds before a job gets a bar; shorter ones only flicker
RECIPE_ROUTE, CODE_ROUTE = "studio-recipe", "studio-code"
BRAND_NAME = f'<h1 class="brand">{BRAND}esm_viz</h1>'
SEPARATOR = '<span class="sep"></span>'
GONE = "This page has expired, reload it"
REST = "Up to date"
WRONG = ("board", "export", "live")  # keys of Session.errors that the status line shows


def bar(session: Session) -> dict[str, Any]:
    """Return the header; `busy` makes the page ask again, `said` is for screen readers and changes less often."""
    line, said = _line(session)
    html = (
        f'<header class="hdr">{BRAND_NAME}{SEPARATOR}<span class="meta loaded">{_loaded(session)}</span>'
        f'<span class="sep device-sep"></span><span class="meta device">{safe(session.project.device_title)}</span>'
        f"{line}{_tools(session)}</header>"
        f"{_notice(session)}"
    )
    return {"html": html, "busy": session.busy, "said": said}


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Handle the header's buttons: cancel the running job, or undo, redo and unpin as on the Merge tab."""
    if message.get("do") == "cancel":
        session.stop()
        session.explored = None  # Explore's pictures will be measured when the tab is opened again
        return (EVERYTHING,)
    if message.get("do") == "dismiss":
        session.lost = None
        return ()  # any message removes the error of a share link
    merge_tab.act(session, message)
    explore_tab.arrive(session)
    if session.comparison_records:  # the Evaluate tab was opened before
        compare_models(session)
    return (EVERYTHING,)


def gone() -> dict[str, Any]:
    """Return the header of a page whose session has ended; the page then opens anew with what it shows."""
    return {"html": f'<header class="hdr">{BRAND_NAME}{_bad(GONE)}</header>', "busy": False, "said": GONE, "gone": True}


def _loaded(session: Session) -> str:
    """Return the project's name, number of tasks and architecture, and on wide screens its number of weights."""
    facts = session.project.inspection
    weights = f'<span class="roomy">, {_millions(facts.files[0].parameters)} weights</span>'
    return f"<b>{safe(session.name)} · {len(session.project.tasks)} tasks</b> · {arch_text(facts.arch)}{weights}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} million" if count >= 1e6 else f"{count:,}"


def _tools(session: Session) -> str:
    """Return undo and redo, and the buttons that are in a menu on narrow screens."""
    recipe = f'<a class="btn" href="./{RECIPE_ROUTE}/{session.ticket}/recipe.yaml" download>{DOWNLOAD}Recipe</a>'
    link = share_link.write(share_link.link_of(session))
    return (
        f'{SEPARATOR}<details class="tools" data-wide><summary class="btn" aria-label="Menu">☰</summary>'
        '<div class="menu">'
        f'<span class="meta told">{_loaded(session)}<br>{safe(session.project.device_title)}</span>'
        + _icon("undo", UNDO, "Undo", off=session.at <= 0)
        + _icon("redo", REDO, "Redo", off=session.at + 1 >= len(session.history))
        + _icon("theme", THEME, "Light or dark")
        + _icon("hall", SCREEN, "Presenter’s view", ticket=session.ticket)
        + button("share", "Share", state=link, title="Link to what is on screen")
        + f"{recipe}{_icon('afresh', AFRESH, 'Start afresh')}</div></details>"
    )


def _icon(act: str, icon: str, title: str, off: bool = False, **data: str) -> str:
    """Return an icon button, which shows its word too in the menu of narrow screens."""
    return button(act, f'{icon}<span class="word">{title}</span>', "q sq", title=title, off=off, **data)


def _notice(session: Session) -> str:
    """Return messages to dismiss: an error of the share link, or a project that is lost since a server's restart."""
    wrong, lost = session.errors.get(share_link_actions.PLACE, ""), session.lost
    told = sentence("warn", wrong) if wrong else ""
    if lost is not None:
        at = f"./{RECIPE_ROUTE}/{session.ticket}/before.yaml"
        told += f'{sentence("warn", lost.words)}<a class="btn" href="{at}" download>{DOWNLOAD}Its recipe</a>'
    away = button("dismiss", "✕", "q sq tiny", title="Dismiss")
    return f'<div class="notice">{told}{away}</div>' if told else ""


def _line(session: Session) -> tuple[str, str]:
    """Return the status line (running job, error, or up to date), and the same in a few words."""
    for job in (session.task, session.live, session.comparison_job, session.explore_job):
        if job is not None and job.running:
            return _running(job)
    wrong = next((session.errors[place] for place in WRONG if place in session.errors), "")
    if wrong:
        return _bad(wrong), wrong
    return f'<div class="job">{OK}<span>{REST}</span></div>', REST


def _bad(text: str) -> str:
    return f'<div class="job bad">{BAD}<span class="what" title="{safe(text)}">{safe(text)}</span></div>'


def _running(job: Job) -> tuple[str, str]:
    if job.age < CALM:
        return '<div class="job"><span class="what">Updating</span></div>', ""
    done = round(100 * job.fraction)
    left = ""
    if job.age > 2 and job.fraction > 0.05:  # enough for an estimate of the remaining time
        left = f", {estimated(job.age * (1 - job.fraction) / job.fraction)} left"
    words = f" · {safe(job.words)}" if job.tells and job.words else ""
    if place := job.place:
        words = f" · {ordinal(place)} in line"
    told = f"{job.what}, {done} %{left}"
    line = (
        f'<div class="job" title="{safe(job.words)}"><span class="what">{safe(job.what)}{words}</span>'
        f'<span class="meter" aria-hidden="true"><i style="width:{done}%"></i></span>'
        f'<span class="done" aria-hidden="true">{done} %<span class="left">{left}</span></span>'
        f"{button('cancel', 'Cancel', 'q link')}</div>"
    )
    return line, told


def ordinal(number: int) -> str:
    """Return a number as an ordinal: 1st, 2nd, 3rd, 4th, 11th, 21st."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
