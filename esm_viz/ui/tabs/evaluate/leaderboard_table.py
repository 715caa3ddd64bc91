"""The leaderboard table: best recipe first, references in italics; a click on a row uses its recipe."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from esm_viz.core.records import Evaluation, Score, Which
from esm_viz.figures.number_format import DASH, capitalized, duration, percent, safe, short
from esm_viz.merge import METHODS
from esm_viz.papers.published_accuracy import EXPERTS, PRETRAINED, SOURCES, Published, published
from esm_viz.papers.published_accuracy import row_of as published_row
from esm_viz.ui.components.csv_download import cell_text, csv_link
from esm_viz.ui.components.html_snippets import badge, button, mark, sentence, table
from esm_viz.ui.components.measured_images import images_of
from esm_viz.ui.session.search_time_estimate import about, board_seconds
from esm_viz.ui.session.session_store import BoardRow, Session
from esm_viz.ui.tabs.evaluate import agreement_board
from esm_viz.ui.tabs.evaluate.compare_all_methods import comparing

HOW = (
    "Each method had the same search for its own α on validation images. Dot and line: mean and 95 % interval. "
    "Tint: faint near pre-trained, strong near the expert. Italics: for reference."
)
TIMED = (
    "Seconds that the row took here: merging, its search for α, and all test images; what was in memory already is "
    "not run again"
)
KEPT = "Measured when the demo was built, from the same files; compare all methods to measure it here"
FILE = "esm_viz-leaderboard.csv"
HEAD_CELL = '<th class="r task" data-task="{task}">{mark} {task}</th>'


def key_of(row: BoardRow) -> str:
    """Return the key of a row in messages: the first digits of its recipe's SHA-256."""
    return row.evaluation.recipe_sha256[:16]


def board(session: Session) -> dict[str, Any]:
    """Return the leaderboard, best first."""
    tasks = session.project.tasks
    count = "one task" if len(tasks) == 1 else f"these {len(tasks)} tasks"
    error = session.errors.get("board", "")
    told = sentence("bad", error) if error else ""
    right = ""
    if not session.project.has_labels("test"):
        body = agreement_board.body(session)
        right = _compare(session) if agreement_board.ranks(session) else ""
        right += agreement_board.download_link(session)
    elif not session.board:
        body = '<p class="how">Measuring test images…</p>'
    else:
        papers = published(session.project.inspection.arch, tasks)
        missing = session.board[-1].evaluation.shares_missing
        warning = sentence("warn", f"{capitalized(missing)}.") if missing else ""
        images = images_of(session.board[-1].evaluation, session.project)
        body = f'<p class="how">Accuracy on {images}. {HOW}</p>{warning}{_table(session, papers)}'
        right = _chip(papers) + _compare(session) + csv_link(board_csv(session), FILE)
    head = f'<div class="ch"><h2>Every method on {count}</h2><div class="right">{right}</div></div>'
    return {"html": f'<section class="card">{head}{told}{body}</section>'}


def _chip(papers: Mapping[str, Published]) -> str:
    if not papers:
        return '<span class="chip">No published numbers for this architecture and these tasks</span>'
    return (
        f'<span class="chip published" title="{", ".join(SOURCES)}">Published: the papers’ fine-tunes, not yours</span>'
    )


def _compare(session: Session) -> str:
    here = bool(session.agreement_board) or any(row.searched and not row.kept for row in session.board)
    label = f"Compare all {len(METHODS)} methods{' again' if here else ''}{about(board_seconds(session))}"
    kind = "" if session.agreement_board or any(row.searched for row in session.board) else "pri"
    return button("compare", label, kind, off=comparing(session))


def _table(session: Session, papers: Mapping[str, Published]) -> str:
    rows = session.board
    reference, low, high = rows[-1].evaluation, *_span(rows)
    tasks = session.project.tasks
    head = (
        '<th>Method</th><th class="r">α</th><th class="span"><span class="ends">'
        f"<span>{low} %</span><span>mean accuracy</span><span>{high} %</span></span></th>"
        '<th class="r">Mean, %</th><th class="r">÷ expert’s, %</th>'
        + ('<th class="r published">published</th>' if papers else "")
        + f'<th class="r" title="{TIMED}">Time</th>'
        + "".join(HEAD_CELL.format(mark=mark(i), task=safe(task)) for i, task in enumerate(tasks))
    )
    lines = [
        _line("Experts, one model a task", DASH, reference, "finetuned", (low, high), papers, EXPERTS),
        _line("Pre-trained", DASH, reference, "pretrained", (low, high), papers, PRETRAINED),
    ]
    told = next((row for row in reversed(rows) if row.evaluation.scores("oracle")), None)
    if told is not None:
        title = f"{safe(told.title)}, told the task"
        lines.append(_line(title, short(told.evaluation.alpha), told.evaluation, "oracle", (low, high), papers))
    lines += [_own(session, row, (low, high), papers) for row in rows]
    lines.sort(key=lambda pair: -pair[0])
    return table("lb", head, "".join(html for _, html in lines))


def _own(session: Session, row: BoardRow, span: tuple[int, int], papers: Mapping[str, Published]) -> tuple[float, str]:
    """Return the mean and the HTML of a recipe's row."""
    on = row.recipe == session.recipe
    signs = (badge("B") if on else "") + (badge("A") if session.pinned and session.pinned.recipe == row.recipe else "")
    how = f'<small title="{KEPT}">recorded</small>' if row.kept else "" if row.searched else "<small>as set</small>"
    key = key_of(row)
    name = (
        f'<button data-do="row" data-index="{key}" data-row="{key}" title="Use this recipe">{safe(row.title)}</button>'
    )
    time = DASH if row.kept else duration(row.seconds)
    paper = published_row(row.recipe.method, row.recipe.parameters.get("expert_rank"))
    attributes = f'class="{"on" if on else "use"}" data-do="row" data-row="{key}"'
    alpha = short(row.evaluation.alpha)
    return _line(name + signs + how, alpha, row.evaluation, "merged", span, papers, paper, time, attributes)


def _line(
    title: str,
    alpha: str,
    record: Evaluation,
    which: Which,
    span: tuple[int, int],
    papers: Mapping[str, Published],
    paper: str = "",
    time: str = DASH,
    attributes: str = 'class="ref"',
) -> tuple[float, str]:
    """Return the mean and the HTML of a row."""
    scores, mean = record.scores(which), record.mean(which)
    cells = "".join(
        _cell(score, task.pretrained, task.finetuned) for score, task in zip(scores, record.tasks, strict=True)
    )
    low, high = record.mean_interval(which)
    dot = _dot(100 * mean, (100 * low, 100 * high), span, which != "merged")
    share = percent(_share(record, which), 1)
    limits = f"{percent(low, 1)} to {percent(high, 1)} %, {sum(score.n for score in scores)} test images"
    return mean, (
        f'<tr {attributes}><td>{title}</td><td class="r">{alpha}</td><td title="{limits}">{dot}</td>'
        f'<td class="r num" title="{limits}">{percent(mean, 1)}</td><td class="r">{share}</td>'
        f'{_paper(papers.get(paper)) if papers else ""}<td class="r">{time}</td>{cells}</tr>'
    )


def _paper(number: Published | None) -> str:
    if number is None:
        return f'<td class="r published">{DASH}</td>'
    share = "" if number.normalised is None else f", {number.normalised:.1f} % of the experts"
    return f'<td class="r published" title="In the papers{share}">{number.accuracy:.1f}</td>'


def _share(record: Evaluation, which: Which) -> float:
    """Return the mean share of the experts' accuracy, over tasks with an expert accuracy above 0."""
    shares = [
        score.accuracy / task.finetuned.accuracy
        for score, task in zip(record.scores(which), record.tasks, strict=True)
        if task.finetuned.correct
    ]
    return sum(shares) / len(shares) if shares else float("nan")


def _span(rows: Sequence[BoardRow]) -> tuple[int, int]:
    """Return the ends of the axis of means in per cent: round numbers below and above all means."""
    models: tuple[Which, ...] = ("pretrained", "finetuned", "merged")
    means = [100 * row.evaluation.mean(which) for row in rows for which in models]
    return max(0, int(min(means) - 3) // 5 * 5), min(100, -(-int(max(means) + 4) // 5) * 5)


def _dot(mean: float, interval: tuple[float, float], span: tuple[int, int], ref: bool) -> str:
    """Return one mean with its interval as SVG, on an axis that does not start at 0."""
    low, high = span

    def place(value: float) -> str:
        return f"{min(100.0, max(0.0, 100 * (value - low) / max(high - low, 1))):.2f}%"

    ink, fill = ("var(--ref)", "var(--panel)") if ref else ("var(--ink)", "var(--ink)")
    grid = "".join(
        f'<line x1="{place(g)}" x2="{place(g)}" y1="0" y2="24" stroke="var(--grid)"/>' for g in range(low + 5, high, 5)
    )
    left, right = map(place, interval)
    caps = "".join(f'<line x1="{x}" x2="{x}" y1="7" y2="17" stroke="{ink}" stroke-width="2"/>' for x in (left, right))
    return (
        f'<svg class="dot" aria-hidden="true"><line x1="0" x2="100%" y1="12" y2="12" stroke="var(--line)"/>{grid}'
        f'<line x1="{left}" x2="{right}" y1="12" y2="12" stroke="{ink}" stroke-width="2.5"/>{caps}'
        f'<circle cx="{place(mean)}" cy="12" r="3.5" fill="{fill}" stroke="{ink}" stroke-width="2.5"/></svg>'
    )


def _cell(score: Score, low: Score, high: Score) -> str:
    """Return the cell of one task's accuracy, with a tint that shows its place between pre-trained and expert."""
    span = high.accuracy - low.accuracy
    level = min(1.0, max(0.0, (score.accuracy - low.accuracy) / span)) if span > 0 else 0.0
    return f'<td class="c"><span style="background:var(--seq-{round(3 * level)})">{percent(score.accuracy)}</span></td>'


_COLUMNS = (
    *("row", "method", "alpha", "alpha_found_by", "measured", "split", "images", "mean", "low", "high"),
    *("share_of_experts", "seconds", "recipe_sha256"),
)  # of the leaderboard as CSV, before those of the tasks


def board_csv(session: Session) -> str:
    """Return the leaderboard as CSV, with one line per row and accuracies as fractions."""
    lines = io.StringIO()
    write = csv.writer(lines).writerow
    tasks = [f"task {task}" if task in _COLUMNS else task for task in session.project.tasks]
    write([*_COLUMNS, *map(cell_text, tasks)])
    reference = session.board[-1].evaluation
    named: list[tuple[str, Evaluation, Which, BoardRow | None]] = [
        ("experts", reference, "finetuned", None),
        ("pre-trained", reference, "pretrained", None),
    ]
    for row in session.board:
        named.append((row.title, row.evaluation, "merged", row))
        if row.evaluation.scores("oracle"):
            named.append((f"{row.title}, told the task", row.evaluation, "oracle", row))
    for name, record, which, own in sorted(named, key=lambda line: -line[1].mean(line[2])):
        scores = record.scores(which)
        write([
            name,
            own.recipe.method if own else "",
            own.evaluation.alpha if own else "",
            ("search" if own.searched else "hand") if own else "",
            ("when the demo was built" if own.kept else "here") if own else "",
            record.split,
            sum(score.n for score in scores),
            *(f"{value:.6f}" for value in (record.mean(which), *record.mean_interval(which), _share(record, which))),
            f"{own.seconds:.2f}" if own and not own.kept and which == "merged" else "",
            own.evaluation.recipe_sha256 if own else "",
            *(f"{score.accuracy:.6f}" for score in scores),
        ])  # fmt: skip
    return lines.getvalue()
