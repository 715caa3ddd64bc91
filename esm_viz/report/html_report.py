"""The report of an exported model: one HTML page with pictures, accuracy, proof, and how to make it again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Evaluation, ExpertAgreement, ExportProof, Inspection, Knob, ProofRow, Score
from esm_viz.figures.formula_typesetting import typeset, typeset_parts
from esm_viz.figures.html_page import Picture, html_page, section
from esm_viz.figures.number_format import DASH, capitalized, ends, number, percent, safe, setting, size
from esm_viz.merge import METHODS
from esm_viz.version import __version__

_DIGEST = 64  # characters of a SHA-256, which is shown whole


@dataclass(frozen=True, slots=True)
class Ranked:
    """One line of the leaderboard.

    Attributes:
        title: of the method, plain.
        evaluation: on test images.
        searched: whether α was searched for it.
    """

    title: str
    evaluation: Evaluation
    searched: bool


@dataclass(frozen=True, slots=True)
class Story:
    """What was seen of a model before it was written.

    Attributes:
        inspection: of its files.
        pictures: in reading order.
        shown: its accuracy, a split each.
        board: the leaderboard; empty where nothing was compared.
        said: plain sentences on what the pictures compare with; may be empty.
        remarks: what else the numbers depend on, in sentences.
    """

    inspection: Inspection
    pictures: Sequence[Picture]
    shown: Sequence[Evaluation]
    board: Sequence[Ranked] = ()
    said: str = ""
    remarks: Sequence[str] = ()


def report_page(proof: ExportProof, written: Recipe, story: Story) -> str:
    """Return the page.

    Args:
        proof: of the written model; every row agrees.
        written: the recipe that lies beside the model, with the digests of what was merged.
        story: what was seen of it.
    """
    title = f"{METHODS[written.method].title} of {', '.join(written.tasks)}"
    return html_page(
        title,
        [
            _head(proof, written, story),
            *map(_accuracy, story.shown),
            *([_agreement(proof.agreement)] if proof.agreement else []),
            *story.pictures,
            *([_board(story.board)] if story.board else []),
            _proof(proof.rows),
            _files(proof, written),
            _again(proof, written),
            section(
                "The recipe",
                "Method, knobs, weights and files: with it, anybody who has the files makes the same merge.",
                f"<pre>{safe(written.to_yaml())}</pre>",
            ),
        ],
        proof.recipe_sha256[:8],
    )


def _head(proof: ExportProof, written: Recipe, story: Story) -> str:
    method, facts = METHODS[written.method], story.inspection
    agree = sum(row.equal for row in proof.rows)
    knobs = (
        f"{safe(method.knobs[name].label)} {_symbol(method.knobs[name])}{setting(value)}"
        for name, value in written.parameters.items()
    )
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    sentences = [
        f"{typeset_parts(method.formula) if method.formula else safe(method.summary)} Source: {safe(method.source)}.",
        f"{', '.join(knobs)}.",
        safe(f"{facts.arch} with {facts.activation}, {written.dtype}, {proof.layout_title}."),
        f"The written file is what was on screen: {agree} of {len(proof.rows)} checks agree.",
        *([safe(story.said)] if story.said else []),
        *(safe(f"{remark}.") for remark in story.remarks),
        f"Made with esm_viz {__version__} on {today} (UTC).",
    ]
    return f'<p class="lead">{"<br>".join(sentences)}</p>'


def _symbol(knob: Knob) -> str:
    """Return a knob's symbol, typeset, with a space behind it; empty if it has none."""
    return f"{typeset(knob.symbol)} " if knob.symbol else ""


def _accuracy(shown: Evaluation) -> str:
    rows = [
        (
            row.task,
            str(row.merged.n),
            percent(row.pretrained.accuracy, 1),
            _with_interval(row.merged),
            percent(row.finetuned.accuracy, 1),
            percent(row.normalised, 1),
        )
        for row in shown.tasks
    ]
    low, high = shown.mean_interval("merged")
    means = [percent(shown.mean(which), 1) for which in ("pretrained", "merged", "finetuned")]
    interval = f"{means[1]} ({percent(low, 1)} to {percent(high, 1)})"
    rows.append((shown.mean_title, "", means[0], interval, means[2], percent(shown.mean_normalised, 1)))
    how = f"On all {shown.split} images, %, with Wilson 95 % intervals."
    if shown.shares_missing:
        how += f" A dash: {shown.shares_missing}."
    head = ("task", "images", "pre-trained", "merged", "expert", "accuracy ÷ expert’s, %")
    return section(f"Accuracy on {shown.split} images", how, _table(head, rows))


def _agreement(record: ExpertAgreement) -> str:
    rows = [
        (
            row.task,
            str(row.n),
            _with_interval(row.same) if row.same else DASH,
            number(row.divergence.value, 3) if row.divergence else DASH,
            number(row.direction.value, 3),
        )
        for row in record.tasks
    ]
    how = f"{record.sentence} Without a head, predictions cannot be compared." if not record.same else record.sentence
    head = ("task", "proxies", "predictions as the expert, %", "KL(expert ‖ merged)", "feature direction")
    return section("Agreement with the experts", how, _table(head, rows))


def _with_interval(score: Score) -> str:
    low, high = score.interval
    return f"{percent(score.accuracy, 1)} ({percent(low, 1)} to {percent(high, 1)})"


def _board(board: Sequence[Ranked]) -> str:
    rows = [
        (
            row.title + ("" if row.searched else ", as set"),
            setting(row.evaluation.alpha),
            percent(row.evaluation.mean("merged"), 1),
            percent(row.evaluation.mean_normalised, 1),
        )
        for row in sorted(board, key=lambda row: -row.evaluation.mean("merged"))
    ]
    how = "Mean accuracy on test images, %, best first; α was searched on validation images, except where it was set."
    if missing := next((row.evaluation.shares_missing for row in board if row.evaluation.shares_missing), ""):
        how += f" {capitalized(missing)}."
    return section("Leaderboard", how, _table(("method", "α", "mean", "accuracy ÷ expert’s, %"), rows))


def _proof(rows: Iterable[ProofRow]) -> str:
    shown = [(row.what, row.on_screen, row.in_file, "✓" if row.equal else "✕") for row in rows]
    how = "The model was written, read again from disk, and evaluated again."
    return section("Is the file what was on screen?", how, _table(("check", "on screen", "in the file", ""), shown))


def _files(proof: ExportProof, written: Recipe) -> str:
    made = [(file.name, size(file.bytes), file.sha256) for file in proof.written]
    merged = [("base", "", written.base_sha256), *((model.name, "", model.sha256) for model in written.models)]
    how = "Written files, then the files that were merged."
    return section("Files", how, _table(("file", "size", "SHA-256"), [*made, *merged]))


def _again(proof: ExportProof, written: Recipe) -> str:
    split = next((f" --split {name}" for name in ("test", "validation") if getattr(written.models[0], name)), "")
    lines = [f"python -m esm_viz merge recipe.yaml --out again --layout {proof.layout}"]
    if split:
        lines.append(f"python -m esm_viz evaluate recipe.yaml{split}")
    how = (
        "Where the files lie that the recipe names: the first line makes the same tensors again, bit for bit on "
        f"{safe(proof.conditions)}; elsewhere up to rounding."
    )
    return section("How to make it again", how, f"<pre>{safe(chr(10).join(lines))}</pre>")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain texts."""
    top = "".join(f"<th>{safe(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    kind = ' class="mono"' if len(text) >= _DIGEST and " " not in text else ""
    return f"<td{kind}>{safe(ends(text, _DIGEST))}</td>"
