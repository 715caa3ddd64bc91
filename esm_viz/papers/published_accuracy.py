"""The accuracies that the papers report for 8, 14 and 20 CLIP tasks, with the papers' own experts.

They must not be ranked with ours. Absolute accuracy, mean over tasks, in per cent, and the mean share of the experts'
accuracy, if the papers give it. Sources: "Model Merging in the Essential Subspace", arXiv:2602.20208, and "Essential
Subspace Merging for Multi-Task Learning", arXiv:2606.19164.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from esm_viz.papers.papers_tasks import SIZES, size_of

SOURCES = ("arXiv:2602.20208", "arXiv:2606.19164")
PRETRAINED, EXPERTS = "pre-trained", "fine-tuned"


@dataclass(frozen=True, slots=True)
class Published:
    """One published number: mean accuracy and mean share of the experts' accuracy, in per cent."""

    accuracy: float
    normalised: float | None = None


# Architecture -> row -> accuracy for 8, 14, 20 tasks. A row is a method's name, with its expert rank where it has one.
_ACCURACY: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "ViT-B-32": {
        PRETRAINED: (48.3, 57.2, 56.1),
        EXPERTS: (92.8, 90.9, 91.3),
        "averaging": (66.3, 64.3, 61.0),
        "task_arithmetic": (70.8, 65.3, 60.5),
        "ties": (75.1, 68.0, 63.4),
        "tsv_m": (85.9, 80.1, 77.1),
        "iso_c": (86.3, 80.3, 75.5),
        "iso_cts": (86.2, 81.7, 78.1),
        "esm": (88.6, 83.9, 82.3),
        "esmpp 8": (91.3, 87.3, 86.4),
        "esmpp 32": (91.8, 88.0, 87.2),
    },
    "ViT-B-16": {
        PRETRAINED: (55.3, 61.3, 59.7),
        EXPERTS: (94.6, 92.8, 93.2),
        "averaging": (72.2, 69.5, 65.3),
        "task_arithmetic": (75.4, 70.5, 65.8),
        "ties": (79.7, 73.2, 68.2),
        "tsv_m": (89.0, 84.6, 80.6),
        "iso_c": (90.6, 84.8, 79.6),
        "iso_cts": (91.1, 86.4, 82.4),
        "esm": (91.6, 87.6, 85.3),
        "esmpp 8": (93.0, 89.9, 88.5),
        "esmpp 32": (93.3, 90.5, 89.5),
    },
    "ViT-L-14": {
        PRETRAINED: (64.7, 68.2, 65.2),
        EXPERTS: (95.8, 94.3, 94.7),
        "averaging": (79.6, 76.7, 71.6),
        "task_arithmetic": (84.9, 79.4, 74.0),
        "ties": (86.9, 79.5, 75.7),
        "tsv_m": (93.0, 89.2, 87.7),
        "iso_c": (94.2, 89.3, 87.6),
        "iso_cts": (94.7, 91.0, 90.1),
        "esm": (94.7, 91.3, 90.7),
        "esmpp 8": (95.4, 92.7, 92.6),
        "esmpp 32": (95.6, 93.2, 93.1),
    },
}
_NORMALISED: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "ViT-B-32": {
        "averaging": (72.1, 71.1, 67.5),
        "task_arithmetic": (76.5, 72.1, 66.8),
        "ties": (81.0, 74.8, 69.9),
        "tsv_m": (92.3, 87.9, 84.3),
        "iso_c": (92.9, 88.1, 82.5),
        "iso_cts": (92.8, 89.7, 85.5),
        "esm": (95.4, 92.4, 90.1),
        "esmpp 8": (98.4, 96.1, 94.5),
        "esmpp 32": (99.0, 96.8, 95.5),
    },
}


def published(arch: str, tasks: Sequence[str]) -> Mapping[str, Published]:
    """Return the papers' numbers for an architecture and its tasks, by row; empty where they have none.

    Args:
        arch: open_clip's name; the QuickGELU variant is the same architecture, and the one that the papers tune.
        tasks: the names of those that are merged, in any order; another eight than the papers' have no number there.
    """
    name, size = arch.removesuffix("-quickgelu"), size_of(tasks)
    if name not in _ACCURACY or size is None:
        return {}
    at, shares = SIZES.index(size), _NORMALISED.get(name, {})
    return {
        row: Published(numbers[at], shares[row][at] if row in shares else None)
        for row, numbers in _ACCURACY[name].items()
    }


def row_of(method: str, expert_rank: object = None) -> str:
    """Return the name of a method's row; of a routed one there is a row for each rank."""
    return method if expert_rank is None else f"{method} {expert_rank}"
