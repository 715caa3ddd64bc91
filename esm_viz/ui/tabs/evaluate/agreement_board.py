"""The leaderboard without labels: methods by agreement with the experts on the proxies; a click uses a row's recipe.

KL(expert ‖ merged) ranks them where every task has a head, feature match otherwise.
"""

from __future__ import annotations

import csv
import io

from esm_viz.core.records import Estimate, TaskAgreement
from esm_viz.figures.number_format import counted, duration, number, percent, safe, short
from esm_viz.ui.components.csv_download import cell_text, csv_link
from esm_viz.ui.components.html_snippets import badge, mark, table
from esm_viz.ui.session.session_store import AgreementRow, Session

FILE = "esm_viz-agreement.csv"
HOW_HEADLESS = (
    "Without labels and without a head for every task, methods stand in the order of feature match, highest first: how "
    "like the own expert’s image features the merged model’s are; 1 is the same. Each method had the same search for "
    "its own α. A task’s column: its feature match. KL is the better order: class names are enough for it."
)
HOW = (
    "Without labels, methods stand in the order of KL(expert ‖ merged), least first: how far the merged model’s "
    "predicted probabilities are from the own expert’s. Each method had the same search for its own α. "
    "A task’s column: predictions as its expert, %."
)
LACKING = (
    "No labelled test images, so nothing to rank methods by. Add them to the recipe, or give every task proxies: up to "
    "32 unlabelled images."
)
NOT_YET = "No labelled test images. Without labels, methods can be ranked by their agreement with the experts."
_SHARE = '<th class="r">As the expert, %</th>'


def ranks(session: Session) -> bool:
    """Say whether methods can be ranked without labels: every task has proxies."""
    return session.project.has_proxies


def key_of(row: AgreementRow) -> str:
    """Return the key of a row in messages: the first digits of its recipe's SHA-256."""
    return row.agreement.recipe_sha256[:16]


def body(session: Session) -> str:
    """Return the table of methods, or what can be done to get one."""
    if not session.agreement_board:
        return f'<p class="how">{NOT_YET if ranks(session) else LACKING}</p>'
    tasks = session.project.tasks
    images = counted(task.n for task in session.agreement_board[-1].agreement.tasks)
    headed = session.project.has_heads
    head = (
        f'<th>Method</th><th class="r">α</th><th class="r">{"KL" if headed else "Feature match"}</th>'
        f'<th class="r">95 % interval</th>{_SHARE if headed else ""}<th class="r">Time</th>'
        + "".join(f'<th class="r task">{mark(at)} {safe(task)}</th>' for at, task in enumerate(tasks))
    )
    lines = "".join(_line(session, row) for row in _ranked(session))
    told = f'<p class="how">On {images} unlabelled proxies a task. {HOW if headed else HOW_HEADLESS}</p>'
    return told + table("lb", head, lines)


def download_link(session: Session) -> str:
    """Return the link that saves the table as CSV; empty before there is one."""
    return csv_link(_csv(session), FILE) if session.agreement_board else ""


def _ranked(session: Session) -> list[AgreementRow]:
    return sorted(session.agreement_board, key=lambda row: -row.agreement.height)


def _line(session: Session, row: AgreementRow) -> str:
    on, key, found = row.recipe == session.recipe, key_of(row), row.agreement
    ranked_by, same = _of_all(row)
    cells = "".join(_cell(task, same is not None) for task in found.tasks)
    share = "" if same is None else f'<td class="r">{percent(same, 1)}</td>'
    signs = badge("B") if on else ""
    signs += badge("A") if session.pinned and session.pinned.recipe == row.recipe else ""
    use = f'data-do="row" data-index="{key}" data-row="{key}" title="Use this recipe"'
    name = f"<td><button {use}>{safe(row.title)}</button>{signs}</td>"
    return (
        f'<tr class="{"on" if on else "use"}" data-do="row" data-row="{key}">{name}'
        f'<td class="r">{short(found.alpha)}</td><td class="r num">{number(ranked_by.value, 3)}</td>'
        f'<td class="r">{number(ranked_by.low, 3)} to {number(ranked_by.high, 3)}</td>{share}'
        f'<td class="r">{duration(row.seconds)}</td>{cells}</tr>'
    )


def _cell(task: TaskAgreement, headed: bool) -> str:
    share = task.same.accuracy if headed and task.same else task.match.value
    shade, text = round(3 * max(share, 0.0)), percent(share) if headed else number(share, 2)
    return f'<td class="c"><span style="background:var(--seq-{shade})">{text}</span></td>'


def _of_all(row: AgreementRow) -> tuple[Estimate, float | None]:
    """Return what ranks a row, and the share of the experts' predictions over all tasks; None unless all have heads."""
    found = row.agreement
    return found.divergence or found.match, found.same.accuracy if found.same else None


def _csv(session: Session) -> str:
    """Return the table as CSV, with shares as fractions."""
    lines = io.StringIO()
    write = csv.writer(lines).writerow
    headed = session.project.has_heads
    value = "kl" if headed else "match"
    columns = ("row", "method", "alpha", "images", value, f"{value}_low", f"{value}_high")
    share = ["as_the_expert"] if headed else []
    write([*columns, *share, "seconds", "recipe_sha256", *map(cell_text, session.project.tasks)])
    for row in _ranked(session):
        found, (by, same) = row.agreement, _of_all(row)
        shares = [f"{task.same.accuracy if headed and task.same else task.match.value:.6f}" for task in found.tasks]
        numbers = [f"{part:.6f}" for part in (by.value, by.low, by.high, *([] if same is None else [same]))]
        front = [row.title, row.recipe.method, found.alpha, found.images]
        write([*front, *numbers, f"{row.seconds:.2f}", found.recipe_sha256, *shares])
    return lines.getvalue()
