"""What is known of files before anything heavy starts: a verdict each, what they will cost, and whether they work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from esm_viz.core.records.accuracy_score import Score
from esm_viz.core.records.basic_types import FileFacts, Layer

Stance = Literal["ready", "check", "refused"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one model.

    Attributes:
        stance: ready to be merged, to be looked at by a person, or refused.
        words: six or so, for a row of a table.
        sentence: what is wrong, where, what to do; empty where nothing is.
    """

    stance: Stance
    words: str
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """One model of a recipe, judged by its header and by listings alone.

    Attributes:
        facts: of its weights.
        classes: rows of its head; 0 without one.
        class_names: where the head names them.
        proxies: images found.
        used: images of these that the method takes.
        validation, test: labelled images.
        verdict: what becomes of it.
    """

    facts: FileFacts
    verdict: Verdict
    classes: int = 0
    class_names: tuple[str, ...] = ()
    proxies: int = 0
    used: int = 0
    validation: int = 0
    test: int = 0

    @property
    def name(self) -> str:
        """Return the task, or "base"."""
        return self.facts.name


@dataclass(frozen=True, slots=True)
class Judgement:
    """All models of a recipe judged together, the wrong ones beside the others; base first.

    Attributes:
        arch: as it is shown.
        activation: "GELU" or "QuickGELU", which no checkpoint's tensors can tell.
        activation_said: whether the recipe says it; else it is open_clip's default and somebody has to confirm it.
        models: base, then the fine-tunes in the recipe's order.
        layers: of the tower.
        memory_bytes, seconds: of decomposing and merging what is not refused nor left out.
        gate_seconds: of running each expert on its own validation images.
        free_bytes: memory that is free now; 0 where the machine does not tell.
        preprocessing: what becomes of an image before the tower reads it.
        notes: what all models share.
    """

    arch: str
    activation: str
    activation_said: bool
    models: tuple[JudgedModel, ...]
    layers: tuple[Layer, ...]
    memory_bytes: int
    seconds: float
    gate_seconds: float
    free_bytes: int
    preprocessing: str
    notes: tuple[str, ...]

    @property
    def base(self) -> JudgedModel:
        """Return the pre-trained model."""
        return self.models[0]

    @property
    def experts(self) -> tuple[JudgedModel, ...]:
        """Return the fine-tunes."""
        return self.models[1:]

    @property
    def refused(self) -> tuple[JudgedModel, ...]:
        """Return the models that cannot be used."""
        return tuple(model for model in self.models if model.verdict.stance == "refused")


@dataclass(frozen=True, slots=True)
class OwnAccuracy:
    """One expert on its own validation images: does the file do its task?"""

    task: str
    score: Score
    classes: int
    left_out: str = ""  # which of its images cannot be read, as a sentence

    @property
    def chance(self) -> float:
        """Return the accuracy of guessing."""
        return 1 / self.classes

    @property
    def near_chance(self) -> bool:
        """Say whether the 95 % interval reaches down to guessing."""
        return self.score.interval[0] <= self.chance


@dataclass(frozen=True, slots=True)
class ActivationScores:
    """The base's validation accuracy under each activation, a score a task: the right one is rarely the lower one."""

    tasks: tuple[str, ...]
    quick_gelu: tuple[Score, ...]
    gelu: tuple[Score, ...]

    @property
    def images(self) -> int:
        """Return the labelled images that each number was measured on."""
        return sum(score.n for score in self.gelu)

    @property
    def means(self) -> tuple[float, float]:
        """Return mean accuracy over the tasks under QuickGELU and under GELU."""
        return _mean(self.quick_gelu), _mean(self.gelu)

    @property
    def half_width(self) -> float:
        """Return half of a mean's 95 % interval, the wider of the two, from the tasks' Wilson intervals."""
        sums = (
            math.hypot(*(high - low for low, high in (score.interval for score in scores)))
            for scores in (self.quick_gelu, self.gelu)
        )
        return max(sums) / 2 / len(self.tasks)


def _mean(scores: Sequence[Score]) -> float:
    return sum(score.accuracy for score in scores) / len(scores)
