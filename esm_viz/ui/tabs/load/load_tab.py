"""The Load tab: the source of the models, a verdict on each file, the expected cost, and the button that starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from esm_viz.core.records import OwnAccuracy
from esm_viz.figures.number_format import safe, size
from esm_viz.hub.download_plan import written_size
from esm_viz.hub.pasted_names import pasted_model, pasted_models
from esm_viz.inspection import file_judgement
from esm_viz.inspection.recipe_from_folder import FoundProject
from esm_viz.inspection.recipe_from_names import recipe_from_names
from esm_viz.papers.hub_names import with_known_data
from esm_viz.ui.components.html_snippets import arch_text, button, pill, segments, sentence, stat
from esm_viz.ui.session.project_to_load import THUMBNAILS, Candidate, enumerated
from esm_viz.ui.session.search_time_estimate import about, estimated
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.tabs.load import allowed_folder, load_steps, names_form
from esm_viz.ui.tabs.load.verdict_table import Shown, verdict_table
from esm_viz.ui.tabs.tab_definition import Piece, Tab
from esm_viz.ui.uploads import upload_unpack

NAMES = load_steps.PIECES
SOURCES = ("folder", "names", "upload", "demo")  # the folder first, as it needs no upload and no download
UPLOADS = (
    "A zip of your checkpoints; or files: base, and NAME for each expert, in any layout; NAME.zip of proxy images, "
    "NAME.head, NAME.validation.zip."
)
LARGE = " Large files need no upload where they lie in this server’s folder."
HOW = (
    "Accuracy: each expert on its own validation images. Upright line: always answering the commonest class. "
    "Click a name for its keys, head and data."
)


def act(session: Session, message: dict[str, Any]) -> tuple[str, ...]:
    """Handle a message: choose a source, decide about its models, measure or decompose them."""
    do, value, name = (_text(message, key) for key in ("do", "value", "name"))
    candidate = session.candidate
    if do == "row" and name is not None:
        session.view.row = "" if session.view.row == name else name
    elif do == "source" and value in _offered(session):
        _choose(session, value)
    elif do == "folder" and session.place.folder and value is not None:
        _open(session, session.place.folder, value)
    elif do == "names" and "names" in _offered(session):
        _name(session, names_form.typed(message, "base"), names_form.typed(message, "models"))
    elif do == "own" and (candidate is None or not candidate.reason):
        load_steps.measure_own(session)
    elif candidate is not None:
        _decide(session, candidate, do, value, name)
    return (*NAMES, "bar")


def receive(session: Session, files: list[str]) -> tuple[str, ...]:
    """Move uploaded files out of the shared folder and check them."""
    session.view.source = "upload"
    load_steps.withdraw(session)
    folder = session.private_folder()
    load_steps.judge(session, "Upload", lambda: upload_unpack.take(files, folder), folder)
    return (*NAMES, "bar")


def _text(message: dict[str, Any], key: str) -> str | None:
    """Return the text of a key in a message; None if it is not a text."""
    value = message.get(key)
    return value if isinstance(value, str) else None


def _choose(session: Session, which: str) -> None:
    load_steps.withdraw(session)
    here = session.place
    session.view.source, session.view.row, session.view.project = which, "", ""
    if which == "demo" and session.project is not here.demo:
        thumbs = {task: here.demo.thumbnails(task, THUMBNAILS) for task in here.demo.tasks}
        session.candidate = Candidate.of_project(here.name, here.demo, thumbs)


def _name(session: Session, base: str, models: str) -> None:
    """Check models by their names on a hub; nothing is downloaded but headers and configs."""
    load_steps.withdraw(session)
    session.view.named = (base, models)
    folder = session.private_folder()

    def read() -> FoundProject:
        recipe = recipe_from_names(pasted_model(base), pasted_models(models), folder)
        return FoundProject(with_known_data(recipe))

    load_steps.judge(session, "Names", read, folder)


def _open(session: Session, folder: Path, chosen: str) -> None:
    """Check a listed project of the folder that the operator allowed."""
    load_steps.withdraw(session)
    session.view.project = chosen if chosen in allowed_folder.listed(folder) else ""
    load_steps.judge(session, chosen, lambda: allowed_folder.open_listed(folder, chosen))


def _decide(session: Session, candidate: Candidate, do: str | None, value: str | None, name: str | None) -> None:
    """Leave a task out or put it back, set the activation or architecture, measure, or decompose."""
    tasks = () if candidate.ready_made else candidate.recipe.tasks
    if do == "leave" and tasks and name in (*tasks, ""):
        _change(session, candidate, left_out=candidate.left_out | {*((name,) if name else candidate.in_the_way)})
    elif do == "take" and name in tasks:
        _change(session, candidate, left_out=candidate.left_out - {name})
    elif do == "activation" and value in ("quick", "plain") and candidate.asks:
        _change(session, candidate, recipe=file_judgement.with_activation(candidate.recipe, value == "quick"), own=())
    elif do == "arch" and value is not None and value in candidate.choices:
        _change(session, candidate, recipe=candidate.choices[value], own=(), activations=None)
    elif do == "activations" and candidate.asks and not candidate.in_the_way:
        load_steps.measure_activations(session, candidate)
    elif do == "decompose" and not candidate.reason:
        load_steps.decompose(session, candidate)
    elif do == "download" and candidate.missing:
        load_steps.download_missing(session, candidate)


def _change(session: Session, candidate: Candidate, **changes: Any) -> None:
    """Change the project on the Load tab and check it again; jobs for its earlier state are cancelled."""
    load_steps.stop(session)
    with session.lock:
        for name, value in changes.items():
            setattr(candidate, name, value)
        candidate.judge()


def source(session: Session) -> dict[str, Any]:
    """Return the choice of the models' source."""
    chosen, place = session.view.source, session.place
    names = {"demo": safe(place.name), "folder": "Folder on this server", "names": "Names", "upload": "Upload"}
    offered = {key: names[key] for key in _offered(session)}
    more = _projects(session, place.folder) if chosen == "folder" and place.folder else ""
    error = session.errors.get("load", "")
    told = sentence("bad", error) if error else ""
    strip = f"{segments('source', offered, chosen, 'Source')}{more}<span>{_about(session)}</span>"
    form = names_form.form(*session.view.named) if chosen == "names" else ""
    return {"html": f'<div class="source" data-source="{chosen}">{strip}</div>{form}{told}'}


def _offered(session: Session) -> tuple[str, ...]:
    """Return the sources that the server's operator allows."""
    place = session.place
    allowed = {"demo": True, "folder": place.folder is not None, "names": place.hub, "upload": place.limits.uploads > 0}
    return tuple(key for key in SOURCES if allowed[key])


def _projects(session: Session, folder: Path) -> str:
    options = "".join(
        f'<option value="{safe(name)}"{" selected" if name == session.view.project else ""}>{safe(name)}</option>'
        for name in allowed_folder.listed(folder)
    )
    return (
        '<select class="sel" data-do="folder" aria-label="Project in this server’s folder">'
        f'<option value="" disabled{"" if session.view.project else " selected"}>Choose a project</option>'
        f"{options}</select>"
    )


def _about(session: Session) -> str:
    """Say what the source contains, or what to upload."""
    if session.view.source == "upload" and session.candidate is None:
        return UPLOADS + (LARGE if session.place.folder else "")
    if session.view.source == "folder" and session.candidate is None and not session.view.project:
        return "Projects in this server’s folder: nothing is uploaded or copied."
    if session.view.source == "names" and session.candidate is None:
        return names_form.ABOUT
    judgement = _shown(session).judgement
    files = [model.facts for model in judgement.models]
    largest = size(max(file.bytes for file in files))
    count = len(files) - 1
    experts = f"{count} expert{'s' if count != 1 else ''}"
    activation = judgement.activation if judgement.activation_said else "activation not said"
    tower = f"<b>{arch_text(judgement.arch)}</b>, {activation}"
    if session.candidate is not None and session.candidate.missing:
        return f"{tower}. {session.candidate.to_download.sentence}"
    return f"{tower}. 1 base, {experts}, up to {largest} each. Files are opened as data, never run."


def found(session: Session) -> dict[str, Any]:
    """Return the table with one row per file of the project on the Load tab, or of the one on screen."""
    shown = _shown(session)
    title = (
        f"What was found: {safe(shown.name)}" if session.candidate else f"{safe(session.name)}: on screen in all tabs"
    )
    counts = [
        (stance, sum(model.verdict.stance == stance for model in shown.judgement.models), words)
        for stance, words in (("ready", "ready"), ("check", "to check"), ("refused", "refused"))
    ]
    kinds = {"ready": "good", "check": "warn", "refused": "bad"}
    pills = "".join(pill(kinds[stance], f"{count} {words}") for stance, count, words in counts if count)
    head = f'<div class="ch"><h2>{title}</h2><div class="right">{pills}</div></div>'
    told = (*shown.found.remarks, shown.found.unused_told) if shown.found else ()
    unused = "".join(f"{safe(sentence)} " for sentence in told if sentence)
    table = verdict_table(shown)
    return {"html": f'<section class="card found">{head}<p class="how">{unused}{HOW}</p>{table}</section>'}


def _shown(session: Session) -> Shown:
    """Return the data of the table."""
    candidate = session.candidate
    if candidate is not None:
        return Shown(
            name=candidate.name,
            judgement=candidate.shown,
            own={accuracy.task: accuracy for accuracy in candidate.own},
            thumbs=candidate.thumbs,
            row=session.view.row,
            left_out=candidate.left_out,
            asks=candidate.asks,
            activations=candidate.activations,
            choices=tuple(candidate.choices),
            arch=candidate.arch,
            decides=not candidate.ready_made,
            found=candidate.found,
        )
    own = _own(session)
    return Shown(
        name=session.name,
        judgement=file_judgement.measured(session.project.judgement, own),
        own={accuracy.task: accuracy for accuracy in own},
        thumbs=session.thumbs,
        row=session.view.row,
    )


def _own(session: Session) -> tuple[OwnAccuracy, ...]:
    """Return the measured accuracies of the experts on screen on their own validation images."""
    if session.own or session.validation is None:
        return session.own
    return session.project.own_of(session.validation[1])


def cost(session: Session) -> dict[str, Any]:
    """Return the expected cost, what must be decided first, and the button that starts the decomposition."""
    candidate, shown = session.candidate, _shown(session)
    facts = shown.judgement
    free = f" <small>of {size(facts.free_bytes)} free</small>" if facts.free_bytes else ""
    tight = "mid down" if facts.free_bytes and facts.memory_bytes > facts.free_bytes else "mid"
    count = len(facts.experts)
    chosen = len(candidate.chosen.models) - len(candidate.in_the_way) if candidate else count
    parts = [
        stat("Memory, at most", f"{size(facts.memory_bytes)}{free}", tight),
        stat("Time to decompose", estimated(facts.seconds), "mid"),
        stat("To be merged" if candidate else "Merged", f"{chosen} of {count} experts", "mid"),
    ]
    right = _next(candidate) if candidate else _gate(session)
    return {"html": f'<section class="card strip">{"".join(parts)}<div class="right">{right}</div></section>'}


def _next(candidate: Candidate) -> str:
    """Return the steps before the decomposition, and its button."""
    facts, reason = candidate.judgement, candidate.reason
    parts = [f'<span class="why">{safe(reason)}</span>'] if reason else []
    if candidate.in_the_way:
        parts.append(button("leave", f"Leave {safe(enumerated(candidate.in_the_way))} out", name=""))
    labelled = any(model.validation for model in facts.experts)
    if not candidate.in_the_way and not facts.activation_said and labelled and candidate.activations is None:
        parts.append(button("activations", f"Measure both{about(2 * facts.gate_seconds)}"))
    if not reason and labelled and not candidate.own:
        parts.append(button("own", f"Measure every expert on its own images{about(facts.gate_seconds)}"))
    if candidate.missing:
        whole = written_size(candidate.missing)
        label = f"Yes, download {whole}" if candidate.confirming else f"Download {whole}"
        blocked = candidate.judgement.base.verdict.stance == "refused" or bool(candidate.in_the_way)
        return "".join([*parts[1:], button("download", label, "pri", off=blocked)] if not blocked else parts)
    count = len(candidate.chosen.models) - len(candidate.in_the_way)
    experts = f"{count} expert{'s' if count != 1 else ''}"
    decomposed = candidate.ready_made
    price = "" if reason else f", {estimated(facts.seconds)}"
    label = f"Go back to {safe(candidate.name)}" if decomposed else f"Decompose {experts}{price}"
    parts.append(button("decompose", label, "pri", off=bool(reason)))
    return "".join(parts)


def _gate(session: Session) -> str:
    """Return the button that measures the experts on screen on their own tasks, unless that is done."""
    facts = session.project.judgement
    known = {accuracy.task for accuracy in _own(session)}
    if all(model.name in known or not model.validation for model in facts.experts):
        return pill("good", "Decomposed")
    return button("own", f"Measure every expert on its own images{about(facts.gate_seconds)}")


TAB = Tab(
    "Load",
    (Piece("source", "block", source), Piece("found", "block", found), Piece("cost", "block", cost)),
    act,
    "load",
)
