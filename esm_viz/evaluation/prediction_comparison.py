"""Confusion matrix, flips and paired difference, computed from predictions.

In all functions, `labels` are the true classes and `a`, `b`, `chosen` are predictions of models, all (n,), integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from esm_viz.core.records import Confusion, Flip, Flips, Paired, Split

MOST_CLASSES = 60  # rows of a confusion matrix that is still readable


def confusion(task: str, split: Split, classes: Sequence[str], labels: Tensor, chosen: Tensor) -> Confusion:
    """Count predictions by true class; with more than MOST_CLASSES classes, those with most mistakes are kept.

    Memory grows with the images and the classes, not with the square of the classes.
    """
    known, labels, chosen = len(classes), labels.long(), chosen.long()
    totals = torch.bincount(labels, minlength=known)
    right = torch.bincount(labels[labels == chosen], minlength=known)
    worst = (totals - right).argsort(descending=True, stable=True)[:MOST_CLASSES]
    shown = worst.sort().values
    place = torch.full((known,), -1).scatter(0, shown, torch.arange(len(shown)))  # of each class among those shown
    rows, columns = place[labels], place[chosen]
    both = (rows >= 0) & (columns >= 0)
    pairs = rows[both] * len(shown) + columns[both]
    counts = torch.bincount(pairs, minlength=len(shown) ** 2).view(len(shown), len(shown))
    return Confusion(
        task,
        split,
        tuple(classes[row] for row in shown.tolist()),
        tuple(map(tuple, counts.tolist())),
        tuple(totals[shown].tolist()),
        int(right.sum()),
        len(labels),
        known,
    )


def flips(
    task: str, split: Split, classes: Sequence[str], places: Sequence[int], labels: Tensor, a: Tensor, b: Tensor
) -> Flips:
    """List the images on which exactly one of two models is right.

    Args:
        task: name of the task.
        split: split of the images.
        classes: names of the classes.
        places: index of each image in its set.
        labels: true classes.
        a: predictions of model A.
        b: predictions of model B.
    """
    before, now = a == labels, b == labels

    def listed(which: Tensor) -> tuple[Flip, ...]:
        at = which.nonzero()[:, 0].tolist()
        return tuple(Flip(places[i], int(labels[i]), int(a[i]), int(b[i])) for i in at)

    return Flips(
        task,
        split,
        tuple(classes),
        len(labels),
        listed(~before & now),
        listed(before & ~now),
        int((before & now).sum()),
        int((~before & ~now).sum()),
    )


def paired(labels: Tensor, a: Tensor, b: Tensor) -> Paired:
    """Count how two models differ on the same images."""
    before, now = a == labels, b == labels
    return Paired(int((~before & now).sum()), int((before & ~now).sum()), len(labels))
