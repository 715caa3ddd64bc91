"""What `evaluate` prints beside an evaluation's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from esm_viz.core.records import ExpertAgreement, Objective
from esm_viz.papers.published_accuracy import Published


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """What belongs to an evaluation of one recipe.

    Attributes:
        papers: what is published for its architecture and tasks; empty where nothing is.
        left_out: which images could not be read, in sentences.
        near_chance: which experts do no better than guessing, in sentences.
        remarks: what else the numbers depend on, in sentences.
        agreement: with the experts on proxies; None without proxies.
        search_on: what α was chosen by, if it was searched.
    """

    papers: Mapping[str, Published] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    near_chance: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    agreement: ExpertAgreement | None = None
    search_on: Objective | None = None


ALONE = EvaluationContext()
"""Nothing beside the evaluation."""
