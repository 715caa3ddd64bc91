"""The Export tab: it writes the model, reads it again and compares it with the screen before it offers a download."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterable
from typing import Any

from esm_viz.core.errors import ProofFailed, RecipeError
from esm_viz.core.recipe import DTYPES, Recipe
from esm_viz.core.records import ExportProof, ProofRow
from esm_viz.figures.number_format import ends, safe, size
from esm_viz.report.html_report import report_page
from esm_viz.ui.components.html_snippets import DOWNLOAD, WARN, button, panel, pill, segments, sentence, table
from esm_viz.ui.jobs.background_job import Job
from esm_viz.ui.session.search_time_estimate import about, export_seconds
from esm_viz.ui.session.session_jobs import keep, start
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.tabs.export.report_pictures import SLOW_SHARE, snapshot, tell
from esm_viz.ui.tabs.merge import live_preview
from esm_viz.ui.tabs.merge.history_diff import change_in_words
from esm_viz.ui.tabs.tab_definition import Piece, Tab

ROUTE = "studio-file"
FOLDER = "esm_viz-model"
ZIP = f"{FOLDER}.zip"
WORK = "Writing and checking the model"
TITLE = "Is the file what you saw?"
HOW = "The model is written, read again from disk, evaluated again, and compared with what is on screen."
MINE = ("form", "proof")
SHORT = 34  # characters that fit into a column
BITS = {"float32": 32, "float16": 16, "bfloat16": 16, "float64": 64}


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Handle a message: choose type or layout, or write and check the model.

    Raises:
        RecipeError: there is no such type or layout.
    """
    do, value = message.get("do"), message.get("value")
    session.errors.pop("export", None)
    if do == "export":
        export(session)
    elif do == "dtype":
        if not isinstance(value, str) or value not in DTYPES:
            raise RecipeError(f"dtype is {value!r:.60}", f"give one of {', '.join(DTYPES)}")
        live_preview.set_recipe(session, session.recipe.replace(dtype=value))
        return (*MINE, "recipe", *live_preview.LIVE, *live_preview.SCORES)
    elif do == "layout":
        layouts = session.project.layouts()
        if not isinstance(value, str) or value not in layouts:
            raise RecipeError(f"there is no layout {value!r:.60}", f"use {', '.join(layouts)}")
        session.view.layout = value
    return MINE


def export(session: Session) -> None:
    """Write the model and its report, read them again, and offer the files if they equal what was on screen."""
    seen, layout = snapshot(session), _layout(session)
    recipe = seen.recipe

    def work(job: Job) -> None:
        folder = session.private_folder() / FOLDER
        story = tell(seen, job, job.progress.part(SLOW_SHARE, SLOW_SHARE + 0.3))
        try:
            proof = seen.project.export(
                recipe,
                folder,
                job.progress.part(0.5, 1.0),
                portable=True,
                layout=layout,
                page=lambda found, written: report_page(found, written, story),
            )
        except ProofFailed as refused:
            rows: Any = refused.rows
            keep(session, job, MINE, lambda: setattr(session, "refused", (recipe, rows)))
            raise
        shutil.make_archive(str(folder), "zip", root_dir=folder.parent, base_dir=folder.name)
        shutil.move(folder.with_suffix(".zip"), folder / ZIP)
        proof = dataclasses.replace(proof, seconds=job.age)
        keep(session, job, MINE, lambda: _offer(session, recipe, proof, session.offer(folder)))

    start(session, WORK, work, "export", MINE)


def _offer(session: Session, recipe: Recipe, proof: ExportProof, token: str) -> None:
    """Offer a checked export in place of the one before, whose files are deleted."""
    if session.proof is not None:
        shutil.rmtree(session.downloads.pop(session.proof[2]).parent, ignore_errors=True)
    session.proof, session.refused = (recipe, proof, token), None


def _layout(session: Session) -> str:
    """Return the chosen layout's name; by default the base file's."""
    return session.view.layout or next(iter(session.project.layouts()))


def _running(session: Session) -> bool:
    return session.task is not None and session.task.running and session.task.what == WORK


def form(session: Session) -> dict[str, Any]:
    """Return the choices of type and layout, and the button that writes the model."""
    recipe, layouts = session.recipe, session.project.layouts()
    own = next(iter(layouts))
    short = {name: safe(title.partition(",")[0]) for name, title in layouts.items()}
    titles = {**short, own: "As the base file"}
    parameters = session.project.inspection.files[0].parameters
    weight = size(parameters * BITS[recipe.dtype] / 8)
    told = f"{parameters / 1e6:.2f} M numbers, {weight}. The base file: {safe(layouts[own])}."
    if recipe.dtype != "float32":
        told += " Accuracy everywhere is now of these rounded weights."
    running = _running(session)
    known = session.proof is not None and not _since(session, *session.proof[:2]) and not running
    cost = about(export_seconds(session))
    label = ("Write and check again" if known else "Write and check the model") + cost
    go = button("export", label, "" if known else "pri", off=running)
    numbers = _choice("dtype", "Numbers as", {name: name for name in DTYPES}, recipe.dtype)
    laid_out = _choice("layout", "Layout", titles, _layout(session))
    body = (
        f'<div class="choices">{numbers}<p class="how">{told}</p></div>'
        f'<div class="choices">{laid_out}<span class="right">{go}</span></div>'
    )
    return {"html": f'<section class="card">{body}</section>'}


def _choice(act: str, label: str, titles: dict[str, str], chosen: str) -> str:
    """Return a segmented control with its label."""
    return f'<span class="choice"><span class="label">{label}</span>{segments(act, titles, chosen, label)}</span>'


def proof(session: Session) -> dict[str, Any]:
    """Return the proof: values on screen and in the file, whether all are equal, and the downloads."""
    error = session.errors.get("export", "")
    body = sentence("bad", error) if error else ""
    if session.refused is not None and session.refused[0] == session.recipe:
        if not error:
            body += sentence("bad", "The file differs from the screen, so it is not offered.")
        return {"html": panel(TITLE, HOW, body + _table(session.refused[1]))}
    if session.proof is None:
        waiting = "Nothing is written yet. Download appears when all checks agree."
        text = "Writing and checking…" if _running(session) else waiting
        return {"html": panel(TITLE, HOW, f'{body}<p class="how nothing">{text}</p>')}
    recipe, record, token = session.proof
    since = _since(session, recipe, record)
    said = (
        f'<p class="sentence warn" role="status">{WARN}<span>{since}</span></p>'
        if since
        else sentence("good", f"The file is what you saw. All {len(record.rows)} checks agree.")
    )
    packed = size((session.downloads[token] / ZIP).stat().st_size)
    whole = _link(token, ZIP, f"{DOWNLOAD}Download all, one zip, {packed}", "" if since else "pri")
    alone = [file for file in record.written if "/" not in file.name]  # heads are in the zip
    links = "".join(_link(token, file.name, f"{safe(file.name)}, {size(file.bytes)}") for file in alone)
    same = f'<p class="how">The recipe gives the same bits again on {safe(record.conditions)}.</p>'
    body += f'<div class="outcome">{said}{whole}</div><div class="files">{links}</div>'
    return {"html": panel(TITLE, HOW, body + _table(record.rows, older=bool(since)) + same)}


def _since(session: Session, recipe: Recipe, record: ExportProof) -> str:
    """Return, as HTML, what changed on screen since the files were written; empty if nothing did."""
    changes = []
    if recipe != session.recipe:
        changes.append(change_in_words(recipe, session.recipe))
    if record.layout != _layout(session):
        titles = session.project.layouts()
        changes.append(f"{safe(titles[record.layout])} → {safe(titles[_layout(session)])}")
    if not changes:
        return ""
    return f"These files are of an earlier state. Changed on screen since then: {', '.join(changes)}."


def _table(rows: Iterable[ProofRow], older: bool = False) -> str:
    head = "<th>Check</th><th>On screen</th><th>In the file</th><th>Equal</th>"
    return table("proof older" if older else "proof", head, "".join(_row(row) for row in rows), "Checks")


def _row(row: ProofRow) -> str:
    sign = pill("good" if row.equal else "bad")
    sides = "".join(f'<td class="mono">{_cut(text)}</td>' for text in (row.on_screen, row.in_file))
    said, kind = ("equal", "") if row.equal else ("different", "wrong")
    what = safe(row.what)
    return f'<tr class="{kind}"><td title="{what}">{what}</td>{sides}<td aria-label="{said}">{sign}</td></tr>'


def _link(token: str, name: str, label: str, kind: str = "") -> str:
    """Return a link to one file; `label` is trusted HTML."""
    return f'<a class="btn {kind}" href="./{ROUTE}/{token}/{safe(name)}" download>{label}</a>'


def _cut(text: str) -> str:
    """Return a long digest shortened to its two ends, with the whole digest as its title."""
    return f'<span title="{safe(text)}">{safe(ends(text, SHORT))}</span>'


def recipe_text(session: Session) -> dict[str, Any]:
    """Return the card with the recipe on screen."""
    text = safe(session.recipe.to_yaml())
    how = "The complete description of this merge: the command line runs it, and the exported model contains it."
    return {"html": panel("The recipe", how, f'<pre class="recipe" tabindex="0" aria-label="Recipe">{text}</pre>')}


TAB = Tab(
    "Export",
    (Piece("form", "block", form), Piece("proof", "block", proof), Piece("recipe", "block", recipe_text)),
    act,
    "export",
)
