"""The Evaluate tab: every method measured on the same test images, against the experts and the pre-trained model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from esm_viz.errors import RecipeError
from esm_viz.figures import accuracy_figure, alpha_figure, routing_figure
from esm_viz.figures.accuracy import mean_half_width
from esm_viz.figures.words import DASH, percent, safe, short
from esm_viz.merge import METHODS, with_parameters
from esm_viz.types import Evaluation, Score
from esm_viz.ui.comparing import BOARD, compare_all, evaluate_test
from esm_viz.ui.html import badge, button, mark, sentence, table
from esm_viz.ui.live import LIVE, SCORES, set_recipe
from esm_viz.ui.piece import Piece, Tab
from esm_viz.ui.store import BoardRow, Session

HOW = (
    "Dot and line: mean and 95 % interval on test images. Tint: faint near pre-trained, strong near the expert. "
    "Italics: for reference."
)
HEAD_CELL = '<th class="r" style="padding:4px 3px">{mark} {task}</th>'


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Compare all methods, use the α of a clicked point or the recipe of a clicked row, or look at the routing.

    Raises:
        RecipeError: the value is none that a recipe takes.
    """
    do, data = message.get("do"), message.get("data")
    if do == "compare":
        compare_all(session)
    elif do == "alpha" and isinstance(data, int | float) and not isinstance(data, bool):
        set_recipe(session, with_parameters(session.recipe, alpha=float(data)))
        evaluate_test(session)
    elif do == "shown":
        session.view.routing = message.get("value") == "routing"
    elif do == "row":
        index = str(message.get("index", ""))
        if not index.isdigit() or int(index) >= len(session.board):
            raise RecipeError("this row is gone", "click another one")
        set_recipe(session, session.board[int(index)].recipe)
    return (*BOARD, *LIVE, *SCORES)


def arrive(session: Session) -> tuple[str, ...]:
    """Measure what is on screen when the visitor comes to the tab."""
    evaluate_test(session)
    return BOARD


def _mine(session: Session) -> BoardRow | None:
    return next((row for row in session.board if row.recipe == session.recipe), None)


def board(session: Session) -> dict[str, Any]:
    """Return the leaderboard, best first, with the references in italics."""
    tasks = session.project.tasks
    count = "one task" if len(tasks) == 1 else f"these {len(tasks)} tasks"
    searched = any(row.searched for row in session.board)
    running = session.task is not None and session.task.running and session.task.what.startswith("Comparing")
    label = "Compare all again" if searched else f"Compare all {len(METHODS)} methods"
    again = button("compare", label, "" if searched else "pri", off=running)
    head = f'<div class="ch"><h2>Every method on {count}</h2><div class="right">{again}</div></div>'
    error = session.errors.get("board", "")
    told = sentence("bad", error) if error else ""
    if not session.project.has_labels("test"):
        body = sentence("warn", "No labelled test images. Add them to the recipe to see accuracy.")
    elif not session.board:
        body = '<p class="how">Measuring test images…</p>'
    else:
        body = f'<p class="how">{HOW}</p>{_table(session)}'
    return {"html": f'<section class="card">{head}{told}{body}</section>'}


def _table(session: Session) -> str:
    tasks = session.project.tasks
    reference = session.board[0].evaluation
    low, high = _span(session.board)
    marks = "".join(HEAD_CELL.format(mark=mark(i), task=safe(task)) for i, task in enumerate(tasks))
    head = (
        '<th>Method</th><th class="r">α</th><th style="width:26%"><span class="ends">'
        f"<span>{low} %</span><span>mean accuracy</span><span>{high} %</span></span></th>"
        f'<th class="r">Mean, %</th><th class="r">% of experts</th>{marks}'
    )
    rows = [
        (
            reference.mean("finetuned"),
            _row("Experts, one model a task", DASH, reference, "finetuned", low, high, ref=True),
        ),
        (reference.mean("pretrained"), _row("Pre-trained", DASH, reference, "pretrained", low, high, ref=True)),
    ]
    for index, row in enumerate(session.board):
        signs = (badge("B") if row.recipe == session.recipe else "") + (
            badge("A") if session.pinned and session.pinned.recipe == row.recipe else ""
        )
        title = safe(row.title) + ("" if row.searched else " <small class='ink3'>as set</small>") + signs
        rows.append((
            row.evaluation.mean("merged"),
            _row(title, short(row.evaluation.alpha), row.evaluation, "merged", low, high,
                 on=row.recipe == session.recipe, index=index),
        ))  # fmt: skip
    rows.sort(key=lambda pair: -pair[0])
    return table("lb", head, "".join(html for _, html in rows))


def _span(rows: Sequence[BoardRow]) -> tuple[int, int]:
    """Return the ends of the dots' axis in per cent, round numbers outside every mean."""
    records = [row.evaluation for row in rows]
    means = [100 * mean for r in records for mean in (r.mean("pretrained"), r.mean("finetuned"), r.mean("merged"))]
    return max(0, int(min(means) - 3) // 5 * 5), min(100, -(-int(max(means) + 4) // 5) * 5)


def _row(
    title: str,
    alpha: str,
    record: Evaluation,
    which: str,
    low: int,
    high: int,
    *,
    ref: bool = False,
    on: bool = False,
    index: int = -1,
) -> str:
    scores: list[Score] = [getattr(task, which) for task in record.tasks]
    mean = record.mean(which)  # type: ignore[arg-type]
    shares = [
        s.accuracy / task.finetuned.accuracy
        for s, task in zip(scores, record.tasks, strict=True)
        if task.finetuned.correct
    ]
    share = percent(sum(shares) / len(shares), 1) if shares else DASH
    cells = "".join(
        _cell(score, task.pretrained, task.finetuned) for score, task in zip(scores, record.tasks, strict=True)
    )
    kind = "ref" if ref else "on" if on else ""
    click = f' data-do="row" data-index="{index}" tabindex="0" style="cursor:pointer"' if index >= 0 else ""
    return (
        f'<tr class="{kind}"{click}><td>{title}</td><td class="r">{alpha}</td>'
        f"<td>{_dot(100 * mean, 100 * mean_half_width(scores), low, high, ref)}</td>"
        f'<td class="r num">{percent(mean, 1)}</td><td class="r">{share}</td>{cells}</tr>'
    )


def _dot(mean: float, half: float, low: int, high: int, ref: bool) -> str:
    """Draw one mean with its interval on the cut axis."""

    def place(value: float) -> str:
        return f"{100 * (value - low) / max(high - low, 1):.2f}%"

    ink, fill = ("var(--ref)", "var(--panel)") if ref else ("var(--ink)", "var(--ink)")
    grid = "".join(
        f'<line x1="{place(g)}" x2="{place(g)}" y1="0" y2="24" stroke="var(--grid)"/>' for g in range(low + 5, high, 5)
    )
    left, right = place(mean - half), place(mean + half)
    caps = "".join(f'<line x1="{x}" x2="{x}" y1="7" y2="17" stroke="{ink}" stroke-width="2"/>' for x in (left, right))
    return (
        f'<svg class="dot" aria-hidden="true"><line x1="0" x2="100%" y1="12" y2="12" stroke="var(--line)"/>{grid}'
        f'<line x1="{left}" x2="{right}" y1="12" y2="12" stroke="{ink}" stroke-width="2.5"/>{caps}'
        f'<circle cx="{place(mean)}" cy="12" r="3.5" fill="{fill}" stroke="{ink}" stroke-width="2.5"/></svg>'
    )


def _cell(score: Score, low: Score, high: Score) -> str:
    """Return one task's accuracy on a tint from pre-trained to expert."""
    span = high.accuracy - low.accuracy
    level = min(1.0, max(0.0, (score.accuracy - low.accuracy) / span)) if span > 0 else 0.0
    return f'<td class="c"><span style="background:var(--seq-{round(3 * level)})">{percent(score.accuracy)}</span></td>'


def bars(session: Session) -> dict[str, Any]:
    """Return the bars of what is on screen against the pre-trained model and the experts, or its routing."""
    row = _mine(session)
    card: dict[str, Any] = {"title": f"{safe(METHODS[session.recipe.method].title)} on test images"}
    if row is None:
        if not session.project.has_labels("test"):
            return card | {"empty": "No labelled test images."}
        last = session.board[-1] if session.board else None
        if last is None:
            return card | {"empty": "Measuring test images…"}
        return card | {"figure": accuracy_figure(last.evaluation, base=True), "stale": "updating"}
    routing = row.evaluation.routing
    if routing is None:
        return card | {"figure": accuracy_figure(row.evaluation, base=True)}
    shown = "routing" if session.view.routing else "accuracy"
    card |= {"choices": [["accuracy", "Accuracy"], ["routing", "Routing"]], "chosen": shown, "switch": "shown"}
    if not session.view.routing:
        return card | {"figure": accuracy_figure(row.evaluation, base=True)}
    figure = routing_figure(routing)
    means = [percent(row.evaluation.mean(which), 1) for which in ("merged", "oracle")]
    told = f"Mean accuracy {means[0]} %, and {means[1]} % when told the task."
    return card | {"figure": figure, "how": f"{figure['layout']['meta']['how']} {told}"}


def alpha(session: Session) -> dict[str, Any]:
    """Return the curve of the last search for α."""
    card: dict[str, Any] = {"title": "The search for α"}
    if session.search is None:
        return card | {"empty": "Not searched yet. Search α on the Merge tab finds the best one on validation images."}
    recipe, found = session.search
    title = f"{safe(METHODS[recipe.method].title)}: the search for α"
    return card | {"title": title, "figure": alpha_figure(found), "picks": "alpha"}


TAB = Tab(
    "Evaluate",
    (Piece("board", "block", board), Piece("bars", "card", bars), Piece("alpha", "card", alpha)),
    act,
    "board",
    arrive,
)
