"""The leaderboard without labels: methods by KL(expert ‖ merged) on the proxies; a click on a row uses its recipe."""

from __future__ import annotations

import csv
import io

from esm_viz.core.records import Estimate, TaskAgreement
from esm_viz.figures.number_format import counted, duration, number, percent, safe, short
from esm_viz.ui.components.csv_download import cell_text, csv_link
from esm_viz.ui.components.html_snippets import badge, mark, table
from esm_viz.ui.session.session_store import AgreementRow, Session

FILE = "esm_viz-agreement.csv"
HOW = (
    "Without labels, methods stand in the order of KL(expert ‖ merged), least first: how far the merged model’s "
    "predicted probabilities are from the own expert’s. Each method had the same search for its own α. "
    "A task’s column: predictions as its expert, %."
)
LACKING = (
    "No labelled test images, so nothing to rank methods by. Add them to the recipe, or give every task a head and "
    "proxies: class names are enough to make a head. Without heads only α can be chosen, on Merge."
)
NOT_YET = "No labelled test images. Without labels, methods can be ranked by their agreement with the experts."


def ranks(session: Session) -> bool:
    """Say whether methods can be ranked without labels: every task has proxies and a head."""
    return session.project.has_proxies and session.project.has_heads


def key_of(row: AgreementRow) -> str:
    """Return the key of a row in messages: the first digits of its recipe's SHA-256."""
    return row.agreement.recipe_sha256[:16]


def body(session: Session) -> str:
    """Return the table of methods, or what can be done to get one."""
    if not session.agreement_board:
        return f'<p class="how">{NOT_YET if ranks(session) else LACKING}</p>'
    tasks = session.project.tasks
    images = counted(task.n for task in session.agreement_board[-1].agreement.tasks)
    head = (
        '<th>Method</th><th class="r">α</th><th class="r">KL</th><th class="r">95 % interval</th>'
        '<th class="r">As the expert, %</th><th class="r">Time</th>'
        + "".join(f'<th class="r task">{mark(at)} {safe(task)}</th>' for at, task in enumerate(tasks))
    )
    lines = "".join(_line(session, row) for row in _ranked(session))
    told = f'<p class="how">On {images} unlabelled proxies a task. {HOW}</p>'
    return told + table("lb", head, lines)


def download_link(session: Session) -> str:
    """Return the link that saves the table as CSV; empty before there is one."""
    return csv_link(_csv(session), FILE) if session.agreement_board else ""


def _ranked(session: Session) -> list[AgreementRow]:
    return sorted(session.agreement_board, key=lambda row: -row.agreement.height)


def _line(session: Session, row: AgreementRow) -> str:
    on, key, found = row.recipe == session.recipe, key_of(row), row.agreement
    apart, same = _of_all(row)
    signs = badge("B") if on else ""
    signs += badge("A") if session.pinned and session.pinned.recipe == row.recipe else ""
    use = f'data-do="row" data-index="{key}" data-row="{key}" title="Use this recipe"'
    name = f"<td><button {use}>{safe(row.title)}</button>{signs}</td>"
    return (
        f'<tr class="{"on" if on else "use"}" data-do="row" data-row="{key}">{name}'
        f'<td class="r">{short(found.alpha)}</td><td class="r num">{number(apart.value, 3)}</td>'
        f'<td class="r">{number(apart.low, 3)} to {number(apart.high, 3)}</td><td class="r">{percent(same, 1)}</td>'
        f'<td class="r">{duration(row.seconds)}</td>{"".join(map(_cell, found.tasks))}</tr>'
    )


def _cell(task: TaskAgreement) -> str:
    assert task.same is not None  # of a ranked row
    share = task.same.accuracy
    return f'<td class="c"><span style="background:var(--seq-{round(3 * share)})">{percent(share)}</span></td>'


def _of_all(row: AgreementRow) -> tuple[Estimate, float]:
    """Return KL and the share of the experts' predictions over all tasks; a ranked row has both."""
    found = row.agreement
    assert found.divergence is not None
    assert found.same is not None
    return found.divergence, found.same.accuracy


def _csv(session: Session) -> str:
    """Return the table as CSV, with shares as fractions."""
    lines = io.StringIO()
    write = csv.writer(lines).writerow
    columns = ("row", "method", "alpha", "images", "kl", "kl_low", "kl_high", "as_the_expert", "seconds")
    write([*columns, "recipe_sha256", *map(cell_text, session.project.tasks)])
    for row in _ranked(session):
        found, (apart, same) = row.agreement, _of_all(row)
        shares = [f"{task.same.accuracy:.6f}" for task in found.tasks if task.same is not None]
        numbers = [f"{value:.6f}" for value in (apart.value, apart.low, apart.high, same)]
        front = [row.title, row.recipe.method, found.alpha, found.images]
        write([*front, *numbers, f"{row.seconds:.2f}", found.recipe_sha256, *shares])
    return lines.getvalue()
