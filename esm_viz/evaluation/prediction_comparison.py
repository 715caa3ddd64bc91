"""Confusion matrix, flips and paired difference, computed from predictions.

In all functions, `labels` are the true classes and `chosen` are a model's predictions, both (n,), integers; `a` and `b`
are two models' predictions for the same images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from esm_viz.core.records import Confusion, Flip, Flips, Paired, RoutedImage, Split
from esm_viz.stages.cached_predictions import Predictions

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


def flips(task: str, split: Split, classes: Sequence[str], labels: Tensor, a: Predictions, b: Predictions) -> Flips:
    """List the images on which exactly one of two models is right.

    Args:
        task: name of the task.
        split: split of the images.
        classes: names of the classes.
        labels: true classes.
        a: predictions of model A.
        b: predictions of model B.
    """
    before, now = a.chosen == labels, b.chosen == labels

    def flip(at: int) -> Flip:
        answers = int(labels[at]), int(a.chosen[at]), int(b.chosen[at])
        return Flip(a.places[at], *answers, float(a.probabilities[at]), float(b.probabilities[at]))

    def listed(which: Tensor) -> tuple[Flip, ...]:
        return tuple(map(flip, which.nonzero()[:, 0].tolist()))

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


def routed_images(found: Predictions, routes: Tensor, labels: Tensor, adapter: int) -> tuple[RoutedImage, ...]:
    """List the images that went to one adapter at some layer, wrong predictions first.

    Args:
        found: a routed model's predictions.
        routes: routes of every image at the layers that count, (layers, n), integers.
        labels: true classes.
        adapter: index of the adapter's task.
    """
    layers = (routes == adapter).sum(0)
    images = [
        RoutedImage(
            found.places[at], int(labels[at]), int(found.chosen[at]), float(found.probabilities[at]), int(layers[at])
        )
        for at in layers.nonzero()[:, 0].tolist()
    ]
    return tuple(sorted(images, key=lambda image: (image.predicted == image.label, -image.layers, image.index)))


def paired(labels: Tensor, a: Predictions, b: Predictions) -> Paired:
    """Count how two models differ on the same images."""
    before, now = a.chosen == labels, b.chosen == labels
    return Paired(int((~before & now).sum()), int((before & ~now).sum()), len(labels))
