"""Records of checks before a merge: a verdict on each file, the expected cost, and the accuracy of each expert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from esm_viz.core.records.accuracy_score import Score, mean_limits
from esm_viz.core.records.basic_types import FileFacts, Layer, Split, Treatment

Stance = Literal["ready", "check", "refused"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one model can be merged, and why not.

    Attributes:
        stance: "ready" to be merged, "check" if a person should look at it, or "refused".
        words: about six words for a table row.
        sentence: what is wrong, where, what to do; empty if nothing is wrong.
    """

    stance: Stance
    words: str
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class JudgedModel:
    """One model of a recipe and its verdict, from the weights' header and the lists of images alone.

    Attributes:
        facts: facts from the header of the weights.
        classes: rows of the head; 0 without a head.
        class_names: names of the classes; empty if the head has none.
        proxies: number of proxy images found.
        used: number of proxies that the method uses.
        validation, test: numbers of labelled images.
        verdict: whether it can be merged.
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
        """Return the name of the task, or "base"."""
        return self.facts.name


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdicts on all models of a recipe, also on those that are refused.

    Attributes:
        arch: the architecture's name to show.
        activation: such as "GELU" or "QuickGELU"; it cannot be read from a checkpoint's tensors.
        activation_said: whether the recipe gives the activation; if not, it is open_clip's default, to be confirmed.
        models: the base, then the experts in the recipe's order.
        layers: the tower's layers.
        memory_bytes, seconds: expected cost of decomposing and merging the models that are not refused or left out.
        gate_seconds: expected time to run each expert on its own validation images.
        free_bytes: free memory now; 0 if unknown.
        preprocessing: how images are prepared for the tower, in words.
        notes: remarks that concern all models.
        treatment: how the tensors are merged by ESM.
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
    treatment: Treatment

    @property
    def base(self) -> JudgedModel:
        """Return the base."""
        return self.models[0]

    @property
    def experts(self) -> tuple[JudgedModel, ...]:
        """Return the experts."""
        return self.models[1:]

    @property
    def refused(self) -> tuple[JudgedModel, ...]:
        """Return the models that cannot be used."""
        return tuple(model for model in self.models if model.verdict.stance == "refused")


@dataclass(frozen=True, slots=True)
class OwnAccuracy:
    """The accuracy of one expert on labelled images of its own task."""

    task: str
    score: Score
    classes: int
    commonest: int  # images of the class that has most
    left_out: str = ""  # a sentence on the images that cannot be read

    @property
    def chance(self) -> float:
        """Return the accuracy of always answering the commonest class, which is at least 1 / classes."""
        return self.commonest / self.score.n if self.score.n else 1 / self.classes

    @property
    def near_chance(self) -> bool:
        """Say whether the 95 % interval reaches down to always answering the commonest class."""
        return self.score.interval[0] <= self.chance

    def near_chance_sentence(self, split: Split) -> str:
        """Return what an accuracy near chance says, and what to check; the images are those of a split."""
        return (
            f"{self.task} is right on {self.score.correct} of {self.score.n} of its own {split} images, "
            f"always answering the commonest of {self.classes} classes would be on {self.commonest}, "
            "check that head and images belong to it"
        )


@dataclass(frozen=True, slots=True)
class ActivationScores:
    """The base's validation accuracy on each task with either activation; the right one is rarely the worse one."""

    tasks: tuple[str, ...]
    quick_gelu: tuple[Score, ...]
    gelu: tuple[Score, ...]

    @property
    def images(self) -> int:
        """Return the number of labelled images that each activation was measured on."""
        return sum(score.n for score in self.gelu)

    @property
    def means(self) -> tuple[float, float]:
        """Return the mean accuracy over tasks with QuickGELU and with GELU."""
        return _mean(self.quick_gelu), _mean(self.gelu)

    @property
    def intervals(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the 95 % intervals of both means, from the tasks' Wilson intervals."""
        return _interval(self.quick_gelu), _interval(self.gelu)


def _mean(scores: Sequence[Score]) -> float:
    return sum(score.accuracy for score in scores) / len(scores)


def _interval(scores: Sequence[Score]) -> tuple[float, float]:
    return mean_limits([score.accuracy for score in scores], [score.interval for score in scores])
