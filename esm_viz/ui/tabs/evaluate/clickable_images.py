"""Rows of small test images, and a clicked one enlarged beside what the models predict for it."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from esm_viz.families.classification_head import COSINE_SCALE
from esm_viz.figures.number_format import safe
from esm_viz.ui.session.session_store import Session


def thumbnails(act: str, images: Iterable[tuple[int, bytes, str]], chosen: int) -> str:
    """Return a row of small images that can be clicked, as HTML.

    Args:
        act: name of the message of a click, which carries the image's index.
        images: index in the labelled set, PNG file and description of each.
        chosen: index of the clicked image; -1 for none.
    """
    return "".join(
        f'<button class="thumb" data-do="{act}" data-index="{index}" aria-pressed="{str(index == chosen).lower()}" '
        f'title="{safe(told)}"><img alt="{safe(told)}" src="{_source(png)}"></button>'
        for index, png, told in images
    )


def enlarged(png: bytes, told: str, answers: str) -> str:
    """Return a large image with the predictions for it at its right, `answers` as trusted HTML."""
    return (
        f'<div class="large"><img alt="{safe(told)}" src="{_source(png)}">'
        f'<div class="answers" aria-live="polite">{answers}</div></div>'
    )


def more(count: int) -> str:
    """Say how many images are not shown; empty if all are."""
    return f'<span class="ink3">+{count} more</span>' if count > 0 else ""


def score_words(session: Session, task: str, classes: int) -> str:
    """Return a paragraph that says what a score of a task's images is."""
    normalised = session.project.headers.heads[task].normalised
    scores = f"{COSINE_SCALE:.0f} × the cosine" if normalised else "the head's logits"
    return f'<p class="how">Score: the probability of the prediction, a softmax of {scores} over {classes} classes.</p>'


def _source(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
