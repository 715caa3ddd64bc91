"""The Load tab: where models come from, one line of verdict a file, and what the work will cost."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from esm_viz import load_recipe
from esm_viz.errors import EsmVizError
from esm_viz.figures.base import task_colour
from esm_viz.figures.words import percent, safe
from esm_viz.types import FileFacts
from esm_viz.ui import loading, uploads
from esm_viz.ui.bar import arch_text
from esm_viz.ui.html import mark, panel, pill, sentence, stat, table
from esm_viz.ui.piece import Piece, Tab
from esm_viz.ui.store import Session

NAMES = ("source", "found", "cost")
ARCHS = ("ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "ViT-L-14-quickgelu", "ViT-B-32", "ViT-B-16", "ViT-L-14")


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Load the demo, or a recipe file of this machine where the visitor sits at it."""
    do, here = message.get("do"), session.place
    if do == "source" and message.get("value") in ("demo", "upload", "local"):
        session.view.source = str(message["value"])
        if session.view.source == "demo" and session.project is not here.demo:
            loading.load(session, here.name, lambda _: here.demo)
    elif do == "arch" and message.get("value") in ARCHS:
        session.view.arch = str(message["value"])
    elif do == "open" and here.local:
        path = Path(str(message.get("recipe", "")).strip()).expanduser()
        loading.load(session, path.parent.name or path.name, uploads.opener(lambda: load_recipe(path), here))
    return (*NAMES, "bar")


def receive(session: Session, files: list[str]) -> tuple[str, ...]:
    """Take uploaded files out of the shared folder and load what they are."""
    try:
        recipe = uploads.take(files, session.private_folder(), session.view.arch)
    except EsmVizError as error:
        session.errors["load"] = str(error)
        return (*NAMES, "bar")
    loading.load(session, "Upload", uploads.opener(lambda: recipe, session.place))
    return (*NAMES, "bar")


def source(session: Session) -> dict[str, Any]:
    """Return the strip that says where models come from."""
    chosen, place = session.view.source, session.place
    options = [
        ("demo", safe(place.name)),
        ("upload", "Upload"),
        *([("local", "Recipe on this machine")] if place.local else []),
    ]
    seg = "".join(
        f'<button data-do="source" data-value="{key}" class="{"on" if key == chosen else ""}" role="radio" '
        f'aria-checked="{str(key == chosen).lower()}">{label}</button>'
        for key, label in options
    )
    archs = "".join(f"<option{' selected' if arch == session.view.arch else ''}>{arch}</option>" for arch in ARCHS)
    more = {
        "demo": f"{len(place.demo.tasks)} experts that the studio opened with. Files are read as data, never run.",
        "upload": "Drop a zip with recipe.yaml below; or base.safetensors, and for each expert NAME.safetensors with "
        f'NAME.zip of images, for <select class="sel" data-do="arch" aria-label="Architecture">{archs}</select>',
        "local": '<input class="text" data-field="recipe" placeholder="path of recipe.yaml" style="width:380px" '
        'aria-label="Path of the recipe"><button class="btn pri" data-do="open" data-form="1">Open</button>',
    }[chosen]
    error = session.errors.get("load", "")
    told = sentence("bad", error) if error else ""
    strip = f'<span class="seg" role="radiogroup" aria-label="Source">{seg}</span>{more}'
    return {"html": f'<div class="source">{strip}</div>{told}'}


def found(session: Session) -> dict[str, Any]:
    """Return one row for each file that is on screen now."""
    project = session.project
    files = project.inspection.files
    rows = "".join(_row(session, file, at - 1) for at, file in enumerate(files))
    notes = "".join(f'<p class="how">{safe(note)}</p>' for note in project.inspection.notes)
    head = (
        '<th>Model</th><th>Layout, type</th><th>Keys matched</th><th class="r">Size</th><th>Proxy images</th>'
        '<th style="width:170px">Own accuracy, %</th><th>Verdict</th>'
    )
    how = "One line for each file. Accuracy is the expert’s on its own validation images."
    title = f"{safe(session.name)}: what was found"
    return {"html": panel(title, how, table("mt", head, rows) + notes, pill("good", f"{len(files)} ready"))}


def _row(session: Session, file: FileFacts, index: int) -> str:
    whole = file.matched + len(file.missing)
    sign = f'<span class="sw">{mark(index)}</span>' if index >= 0 else '<span class="sw">○</span>'
    thumbs = "".join(
        f'<img class="th" alt="" src="data:image/png;base64,{base64.b64encode(image).decode()}">'
        for image in session.thumbs.get(file.name, [])
    )
    words = "Ready, start of all experts" if index < 0 else "Ready"
    extra = f", {len(file.extra)} tensors not used" if file.extra else ""
    keys = " title=" + f'"{safe(", ".join(file.extra[:20]))}"' if file.extra else ""
    return (
        f"<tr><td><b>{sign}{safe(file.name)}</b></td><td>{safe(file.layout)}, {safe(file.dtype)}</td>"
        f'<td>{file.matched} of {whole}</td><td class="r">{_bytes(file.bytes)}</td><td>{thumbs or "–"}</td>'
        f"<td>{_own(session, file.name, index)}</td>"
        f'<td><span class="verdict"{keys}>{pill("good")}<span>{words}{extra}</span></span></td></tr>'
    )


def _own(session: Session, task: str, index: int) -> str:
    """Return the expert's own accuracy as a bar, where it was measured."""
    scores = session.validation[1].tasks if session.validation else ()
    score = next((item.finetuned for item in scores if item.task == task), None)
    if index < 0 or score is None:
        return '<span class="ink3">–</span>'
    shape = 'x="0" y="5" height="10" rx="2"'
    bar = f'<rect {shape} width="{104 * score.accuracy:.1f}" fill="{task_colour(index)}"/>'
    svg = f'<svg aria-hidden="true"><rect {shape} width="104" fill="var(--sunken)"/>{bar}</svg>'
    return f'<span class="acc">{svg}<b>{percent(score.accuracy)}</b></span>'


def cost(session: Session) -> dict[str, Any]:
    """Return what the work needs: memory, time, and how many experts."""
    facts = session.project.inspection
    parts = [
        stat("Memory, at most", _bytes(facts.memory_bytes), "mid"),
        stat("Time to decompose", _seconds(facts.seconds), "mid"),
        stat("To be merged", f"{len(session.project.tasks)} experts", "mid"),
        stat("Architecture", f"{arch_text(facts.arch)} <small>{safe(facts.activation)}</small>", "mid"),
    ]
    return {"html": f'<section class="card strip">{"".join(parts)}</section>'}


def _bytes(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000  # type: ignore[assignment]
    return f"{count:.1f} GB"


def _seconds(value: float) -> str:
    return "under 1 s" if value < 1 else f"about {value:.0f} s" if value < 90 else f"about {value / 60:.0f} min"


TAB = Tab(
    "Load",
    (Piece("source", "block", source), Piece("found", "block", found), Piece("cost", "block", cost)),
    act,
    "load",
)
