"""The Export tab: the model written, read again and compared with the screen; only then can it be downloaded."""

from __future__ import annotations

import shutil
from typing import Any

from esm_viz.figures.words import safe
from esm_viz.types import ProofRow
from esm_viz.ui.html import DOWNLOAD, button, panel, pill, sentence, table
from esm_viz.ui.jobs import Job
from esm_viz.ui.piece import Piece, Tab
from esm_viz.ui.running import keep, start
from esm_viz.ui.store import Session

ROUTE = "studio-file"
TITLE = "Is the file what you saw?"
HOW = "The model is written, read again from disk, and compared with what is on screen."


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Write and check the model."""
    if message.get("do") == "export":
        export(session)
    return ("proof",)


def export(session: Session) -> None:
    """Write the model, read it again, and offer the files for download if it is what was on screen."""
    recipe = session.recipe

    def work(job: Job) -> None:
        folder = session.private_folder() / "esm_viz-model"
        proof = session.project.export(recipe, folder, job.report, portable=True)
        shutil.make_archive(str(folder), "zip", root_dir=folder.parent, base_dir=folder.name)
        shutil.move(f"{folder}.zip", folder / "esm_viz-model.zip")
        token = session.offer(folder)
        keep(session, job, ("proof",), lambda: setattr(session, "proof", (recipe, proof, token)))

    start(session, "Writing and checking the model", work, "export", ("proof",))


def proof(session: Session) -> dict[str, Any]:
    """Return both columns, on screen and in the file, with the verdict."""
    error = session.errors.get("export", "")
    body = sentence("bad", error) if error else ""
    ready = session.proof if session.proof and session.proof[0] == session.recipe else None
    again = button("export", "Write and check again" if ready else "Write and check the model", "" if ready else "pri")
    if ready is None:
        running = session.task is not None and session.task.running and session.task.what.startswith("Writing")
        text = "Writing and checking…" if running else "Nothing is written yet. Download appears when all checks agree."
        return {"html": panel(TITLE, HOW, f'{body}<p class="how" style="margin-top:16px!important">{text}</p>', again)}
    _, record, token = ready
    rows = "".join(_row(row) for row in record.rows)
    body += table("proof", "<th></th><th>On screen</th><th>In the file</th><th></th>", rows)
    if all(row.equal for row in record.rows):
        body += sentence("good", "The file is what you saw.") + _files(token, record.files)
    else:
        body += sentence("bad", "The file differs from the screen, so it is not offered.")
    return {"html": panel(TITLE, HOW, body, again)}


def _row(row: ProofRow) -> str:
    sign = pill("good" if row.equal else "bad")
    sides = "".join(f'<td class="mono">{_cut(text)}</td>' for text in (row.on_screen, row.in_file))
    return f"<tr><td>{safe(row.what)}</td>{sides}<td>{sign}</td></tr>"


def _files(token: str, files: tuple[str, ...]) -> str:
    """Return one link for all, and one for each file."""
    links = [
        f'<a class="btn pri" href="./{ROUTE}/{token}/esm_viz-model.zip" download>{DOWNLOAD}Download all, one zip</a>'
    ]
    for name in files:
        plain = name.rsplit("/", 1)[-1]
        links.append(f'<a class="btn" href="./{ROUTE}/{token}/{safe(plain)}" download>{DOWNLOAD}{safe(plain)}</a>')
    return f'<div class="files">{"".join(links)}</div>'


def _cut(text: str) -> str:
    """Show a long digest by its two ends; the whole of it is its title."""
    short = f"{text[:10]}…{text[-6:]}" if len(text) > 34 and " " not in text else text
    return f'<span title="{safe(text)}">{safe(short)}</span>'


def recipe_text(session: Session) -> dict[str, Any]:
    """Return the recipe that says this merge completely."""
    text = safe(session.recipe.to_yaml())
    how = "It says this merge completely: the command line runs it, and the exported model carries it."
    return {"html": panel("The recipe", how, f'<pre class="recipe" tabindex="0" aria-label="Recipe">{text}</pre>')}


TAB = Tab("Export", (Piece("proof", "block", proof), Piece("recipe", "block", recipe_text)), act, "export")
