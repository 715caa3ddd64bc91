"""The verdict table on the Load tab: one row per file, and details of the clicked row."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from esm_viz.core.records import ActivationScores, FileFacts, JudgedModel, Judgement, OwnAccuracy, Stance
from esm_viz.figures.figure_parts import task_colour
from esm_viz.figures.number_format import DASH, percent, safe, size
from esm_viz.inspection.recipe_from_folder import FoundProject
from esm_viz.ui.components.html_snippets import button, mark, pill, segments, table

KINDS: dict[Stance, str] = {"ready": "good", "check": "warn", "refused": "bad"}
SHORT = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float64": "fp64"}
WIDE = 104  # px of an accuracy bar
MOST_KEYS, MOST_NAMES = 8, 10  # most keys and names in the details of a row
HEAD = (
    '<th>Model</th><th>Layout, type</th><th>Keys matched</th><th class="r">Classes</th><th>Proxy images</th>'
    '<th class="own">Own validation images, %</th><th class="say">Verdict</th>'
)


@dataclass(frozen=True)
class Shown:
    """The data of the table.

    Attributes:
        name: name of the project.
        judgement: verdicts on its files.
        own: measured accuracies of the experts on their own validation images.
        thumbs: a few proxies by task, as PNG files.
        row: name of the row whose details are open.
        left_out: tasks that the visitor left out.
        asks: whether the visitor has to confirm the activation.
        activations: the base's accuracy with either activation, if measured.
        choices: architectures that fit; `arch` is the chosen one.
        decides: whether tasks may be left out here.
        found: how the recipe was made from file names; None if there was a recipe.
    """

    name: str
    judgement: Judgement
    own: Mapping[str, OwnAccuracy]
    thumbs: Mapping[str, Sequence[bytes]]
    row: str = ""
    left_out: Collection[str] = field(default_factory=tuple)
    asks: bool = False
    activations: ActivationScores | None = None
    choices: tuple[str, ...] = ()
    arch: str = ""
    decides: bool = False
    found: FoundProject | None = None


def verdict_table(shown: Shown) -> str:
    """Return the whole table."""
    rows = []
    for at, model in enumerate(shown.judgement.models):
        rows.append(_row(shown, model, at - 1))
        if model.name == shown.row:
            rows.append(f'<tr class="more"><td colspan="7">{_details(shown, model, at - 1)}</td></tr>')
    return table("mt", HEAD, "".join(rows))


def _row(shown: Shown, model: JudgedModel, index: int) -> str:
    facts, is_open, out = model.facts, model.name == shown.row, model.name in shown.left_out
    whole = facts.matched + len(facts.missing) + len(facts.misshaped)
    short = ' class="bad"' if facts.matched < whole else ""
    kind = " ".join(word for word, on in (("on", is_open), ("out", out)) if on)
    sign = mark(index) if index >= 0 else "○"
    label = model.name if index >= 0 else facts.file
    named = (
        f'<button class="name" data-do="row" data-name="{safe(model.name)}" aria-expanded="{str(is_open).lower()}">'
        f'<span class="sw">{sign}</span>{safe(label)}</button>'
    )
    types = ", ".join(SHORT.get(dtype, dtype) for dtype in facts.dtype.split(", ") if dtype)
    layout = ", ".join(safe(part) for part in (facts.layout.partition(",")[0], types) if part)
    cells = [
        f"<td>{named}</td><td>{layout}</td><td{short}>{facts.matched} of {whole}</td>",
        f'<td class="r">{model.classes or DASH}</td><td>{_proxies(shown, model)}</td>',
        f"<td>{_own(shown, model, index)}</td><td>{_verdict(shown, model, index)}</td>",
    ]
    lights = f' data-task="{safe(model.name)}"' if index >= 0 else ""
    return f'<tr class="{kind}"{lights}>{"".join(cells)}</tr>'


def _proxies(shown: Shown, model: JudgedModel) -> str:
    """Return thumbnails of a few proxies, and the number that is used."""
    pictures = "".join(
        f'<img class="th" alt="" src="data:image/png;base64,{base64.b64encode(image).decode()}">'
        for image in shown.thumbs.get(model.name, ())
    )
    return f"{pictures} <small>{model.used}</small>" if model.proxies else DASH


def _own(shown: Shown, model: JudgedModel, index: int) -> str:
    """Return the expert's own accuracy as a bar marked at the commonest class's share; empty if not measured."""
    accuracy = shown.own.get(model.name)
    if accuracy is None:
        return f'<span class="ink3">{"not run" if index >= 0 and model.validation else DASH}</span>'
    score, (low, high) = accuracy.score, accuracy.score.interval
    told = (
        f"{score.correct} of {score.n} own validation images, 95 % interval {percent(low)} to {percent(high)} %; "
        f"always the commonest class: {percent(accuracy.chance)} %"
    )
    shape, at = 'x="0" y="5" height="10" rx="2"', WIDE * accuracy.chance
    svg = (
        f'<svg aria-hidden="true"><rect {shape} width="{WIDE}" fill="var(--sunken)"/>'
        f'<rect {shape} width="{WIDE * score.accuracy:.1f}" fill="{task_colour(index)}"/>'
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="20" stroke="var(--ink)" stroke-width="2.5"/></svg>'
    )
    number = f"<b>{percent(score.accuracy)}</b><small>on {score.n}</small>"
    return f'<span class="acc" title="{safe(told)}">{svg}{number}</span>'


def _verdict(shown: Shown, model: JudgedModel, index: int) -> str:
    """Return the verdict's icon and words, and the controls of this row."""
    verdict = model.verdict
    if model.name in shown.left_out:
        return f'<span class="verdict ink3">Left out{_back(model)}</span>'
    kind = KINDS[verdict.stance]
    title = f' title="{safe(verdict.sentence)}"' if verdict.sentence else ""
    decides = index < 0 and shown.asks and verdict.stance != "refused"
    words = "Ready" if decides and verdict.stance == "ready" else verdict.words
    decision = _activation(shown) if decides else ""
    return f'<span class="verdict {kind}"{title}>{pill(kind)}<span>{safe(words)}</span>{decision}</span>'


def _back(model: JudgedModel) -> str:
    return button("take", "Take back", "q link", name=model.name) if model.verdict.stance != "refused" else ""


def _activation(shown: Shown) -> str:
    """Return the choice of the activation, each with the base's accuracy if that was measured."""
    facts, scores = shown.judgement, shown.activations
    told = [f" {percent(mean, 1)}" for mean in scores.means] if scores else ["", ""]
    hint = "The weights do not show it"
    if scores:
        quick, plain = (f"{percent(low, 1)} to {percent(high, 1)}" for low, high in scores.intervals)
        hint = (
            f"Mean accuracy of the base on {scores.images} validation images, in %; 95 % intervals: QuickGELU {quick}, "
            f"GELU {plain}"
        )
    said = {"QuickGELU": "quick", "GELU": "plain"}[facts.activation] if facts.activation_said else ""
    words = {"quick": f"QuickGELU{told[0]}", "plain": f"GELU{told[1]}"}
    return segments("activation", words, said, "Activation", hint)


def _details(shown: Shown, model: JudgedModel, index: int) -> str:
    """Return the details of a row: the whole sentence, keys, head and data."""
    facts = model.facts
    label = "Note" if model.verdict.stance == "ready" else "Verdict"
    lines = [(label, safe(model.verdict.sentence))] if model.verdict.sentence else []
    lines.append(("File", f"{safe(facts.file)}, {size(facts.bytes)}, {_weights(facts)}"))
    for what, keys in (("missing", facts.missing), ("of another shape", facts.misshaped), ("not used", facts.extra)):
        if keys:
            lines.append((f"{len(keys)} keys {what}", f'<span class="mono">{_some(keys, MOST_KEYS)}</span>'))
    if index >= 0:
        names = f": {_some(model.class_names, MOST_NAMES)}" if model.class_names else ""
        lines.append(("Head", f"{model.classes} classes{names}" if model.classes else "none, so accuracy is not known"))
        images = f"{model.validation} validation and {model.test} test images"
        lines.append(("Data", f"{model.proxies} proxy images, {model.used} of them used; {images}"))
    else:
        lines.append(("Images are", safe(shown.judgement.preprocessing)))
        lines.append(("Merged by ESM", safe(shown.judgement.treatment.sentence)))
        lines += [("Note", safe(note)) for note in shown.judgement.notes]
        told = shown.found.arch_told if shown.found else ""
        if told or len(shown.choices) > 1:
            chosen = _arch(shown) if len(shown.choices) > 1 else safe(shown.judgement.arch)
            lines.append(("Architecture", f"{chosen} {told}"))
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in lines)
    leave = shown.decides and index >= 0 and model.name not in shown.left_out
    return f"<dl>{listed}</dl>{button('leave', f'Leave {safe(model.name)} out', name=model.name) if leave else ''}"


def _weights(facts: FileFacts) -> str:
    return f"{safe(facts.layout)}, {facts.parameters / 1e6:.2f} million parameters"


def _arch(shown: Shown) -> str:
    """Return the choice of architectures that fit the base's shapes."""
    options = "".join(
        f"<option{' selected' if name == shown.arch else ''}>{safe(name)}</option>" for name in shown.choices
    )
    return f'<select class="sel" data-do="arch" aria-label="Architecture">{options}</select>'


def _some(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return safe(", ".join(names[:most])) + more
