"""The flips card: test images that became right or wrong from A to B; a click enlarges one, with both predictions."""

from __future__ import annotations

from typing import Any

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import REFERENCES, Difference, Flip, Flips
from esm_viz.figures.figure_parts import task_glyph
from esm_viz.figures.number_format import percent, safe, short, signed
from esm_viz.merge import METHODS
from esm_viz.ui.components.html_snippets import button, pill, segments, select, sentence
from esm_viz.ui.session.session_store import Session
from esm_viz.ui.tabs.evaluate.clickable_images import enlarged, more, score_words, thumbnails
from esm_viz.ui.tabs.evaluate.comparison_with_a import FlipsSeen, Model, choice_of, fresh, own_pixels, task_of

MODELS = {"a": "A", "b": "B", "pretrained": "Pre-trained", "finetuned": "Expert"}


def flips(session: Session) -> dict[str, Any]:
    """Return the flips of the chosen task."""
    before = {"a": "A", "pretrained": "pre-trained", "finetuned": "the expert"}[_against(session)]
    head = (
        f'<div class="ch"><h2>Images that flip from {before} to B</h2>'
        f'<div class="right">{_choices(session)}{task_choice(session)}</div></div>'
    )
    error = session.errors.get("flips", "")
    asked, seen = session.comparison_records.get("flips", (None, None))
    if not session.project.has_labels("test"):
        body = sentence("warn", "No labelled test images. Add them to the recipe to see which images flip.")
    elif error:
        body = sentence("bad", error)
    elif seen is None or seen.flips.task != task_of(session):  # images of another task are never shown
        stopped = session.comparison_job is None or not session.comparison_job.running
        again = button("look", "Look at the images") if stopped else ""
        body = f'<p class="how">{"Stopped." if stopped else "Measuring test images…"} {again}</p>'
    else:
        body = _body(session, seen, *_names(*asked))
    stale = "" if seen is None or fresh(session, "flips") else " stale"
    return {"html": f'<section class="card flips{stale}">{head}{body}</section>'}


def task_choice(session: Session) -> str:
    """Return the select for the task, as HTML."""
    options = [(task, f"{task} {task_glyph(at)}") for at, task in enumerate(session.project.tasks)]
    return select("task", "Task", options, task_of(session))


def _against(session: Session) -> str:
    return choice_of(session, session.view.against)


def _choices(session: Session) -> str:
    shown = [*(["a"] if session.pinned else []), *REFERENCES]
    return segments("against", {choice: MODELS[choice] for choice in shown}, _against(session), "Compare B with")


def _names(before: Model, now: Recipe, task: str) -> tuple[str, str]:
    """Return the names of the two models."""
    references = {"pretrained": "the pre-trained model", "finetuned": f"the expert of {task}"}
    return references[before] if isinstance(before, str) else _merge(before), _merge(now)


def _merge(recipe: Recipe) -> str:
    return f"{METHODS[recipe.method].title} at α {short(float(recipe.parameters['alpha']))}"


def _body(session: Session, seen: FlipsSeen, before: str, now: str) -> str:
    record, paired = seen.flips, seen.flips.paired
    kinds = (
        ("good", f"{len(record.became_right)} became right", record.became_right, seen.right),
        ("bad", f"{len(record.became_wrong)} became wrong", record.became_wrong, seen.wrong),
    )
    rows = "".join(
        f'<div class="flip-row">{pill(kind, words)}<span class="thumbs">{_thumbs(session, record, shown)}</span>'
        f"{more(len(every) - len(shown))}</div>"
        for kind, words, every, shown in kinds
    )
    how = f"Same test images, {safe(before)} against {safe(now)}. Click one to see both predictions and their scores."
    sums = (
        f"{record.both_right} right with both, {record.both_wrong} wrong with both, of {record.n} test images. "
        f"{_points(paired.difference, paired.interval, paired.told, record.task)}"
    )
    return (
        f'<p class="how">{how}</p>{rows}{_predictions(session, seen)}<p class="sums">{sums}{_mean(seen.difference)}</p>'
    )


def _mean(difference: Difference) -> str:
    """Return the mean difference over all tasks as HTML; empty for a single task."""
    count = len(difference.tasks)
    if count == 1:
        return ""
    return "; " + _points(difference.mean, difference.mean_interval, difference.told, f"mean of {count} tasks")


def _points(value: float, interval: tuple[float, float], told: bool, where: str) -> str:
    """Return a difference with its paired interval, in grey if the interval contains 0."""
    low, high = interval
    kind, sign = ("same", "≈") if not told else ("up", "▲") if value > 0 else ("down", "▼")
    limits = f"{signed(100 * low, 1)} to {signed(100 * high, 1)}"
    number = f'<b class="{kind}">{sign} {signed(100 * value, 1)}</b> points'
    return f'<span title="95 % interval, paired">{safe(where)} {number} <span class="ink3">({limits})</span></span>'


def _thumbs(session: Session, record: Flips, shown: tuple[tuple[Flip, bytes], ...]) -> str:
    images = [(flip.index, png, _told(record, flip)) for flip, png in shown]
    return thumbnails("image", images, session.view.image)


def _told(record: Flips, flip: Flip) -> str:
    true, a, b = (record.classes[at] for at in (flip.label, flip.a, flip.b))
    return f"{true}: A predicts {a}, B predicts {b}"


def _predictions(session: Session, seen: FlipsSeen) -> str:
    """Return the clicked image enlarged, its true class, both predictions and their scores; a line of space if none."""
    record = seen.flips
    clicked = [(flip, png) for flip, png in (*seen.right, *seen.wrong) if flip.index == session.view.image]
    flip, png = clicked[0] if clicked else (None, b"")
    if flip is None:
        return '<p class="answers" aria-live="polite">&nbsp;</p>'
    answers = ((MODELS[_against(session)], flip.a, flip.a_probability), ("B", flip.b, flip.b_probability))
    rows = "".join(
        f"<tr><th>{letter}</th><td><b>{safe(record.classes[answer])}</b> {'✓' if answer == flip.label else '✕'}</td>"
        f'<td class="r num">{percent(probability)} %</td></tr>'
        for letter, answer, probability in answers
    )
    told = (
        f"Image {flip.index + 1}: true class <b>{safe(record.classes[flip.label])}</b>."
        f'<table class="scores"><tr><th>Model</th><th>Prediction</th><th class="r">Score</th></tr>{rows}</table>'
        f"{score_words(session, record.task, len(record.classes))}"
    )
    return enlarged(own_pixels(session, "enlarged_flip", record.task, flip.index, png), _told(record, flip), told)
