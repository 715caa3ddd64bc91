"""Records of how far a merged model agrees with its experts on unlabelled proxies (METHOD, choosing without labels)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from esm_viz.core.records.accuracy_score import Score
from esm_viz.core.records.basic_types import Objective, Value


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over images, with its 95 % bootstrap interval over them."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TaskAgreement:
    """What the merged model keeps of one task's own expert, on n of the task's proxies.

    Attributes:
        same: proxies with the expert's prediction; None without a head.
        divergence: KL(expert ‖ merged) of the predicted probabilities, in nats; None without a head.
        direction: cosine of the merged model's and the expert's change of the image features, in [-1, 1].
    """

    task: str
    n: int
    same: Score | None
    divergence: Estimate | None
    direction: Estimate


@dataclass(frozen=True, slots=True)
class ExpertAgreement:
    """Agreement of one recipe's model with the experts, per task and on average.

    Attributes:
        limit: requested proxies per task; 0 = all.
        divergence: mean of the tasks' KL; None unless every task has a head.
        direction: mean of the tasks' feature directions.
    """

    recipe_sha256: str
    method: str
    alpha: float
    parameters: Mapping[str, Value]
    tasks: tuple[TaskAgreement, ...]
    limit: int
    divergence: Estimate | None
    direction: Estimate
    seconds: float

    @property
    def images(self) -> int:
        """Return the number of proxies of all tasks together."""
        return sum(task.n for task in self.tasks)

    @property
    def same(self) -> Score | None:
        """Return all tasks' proxies with the own expert's prediction, pooled; None unless every task has a head."""
        known = [task.same for task in self.tasks if task.same is not None]
        if len(known) < len(self.tasks):
            return None
        return Score(sum(score.correct for score in known), sum(score.n for score in known))

    @property
    def sentence(self) -> str:
        """Return what was measured, on how many images, as one sentence."""
        words = []
        if self.same is not None:
            low, high = (100 * end for end in self.same.interval)
            share = f"{100 * self.same.accuracy:.1f} % ({low:.1f} to {high:.1f})"
            words.append(f"the merged model predicts as the experts do on {share}")
        if self.divergence is not None:
            words.append(f"KL {self.divergence.value:.3f} ({self.divergence.low:.3f} to {self.divergence.high:.3f})")
        turned = self.direction
        if math.isnan(turned.value):
            words.append("no feature direction, since no expert changed the features")
        else:
            words.append(f"feature direction {turned.value:.3f} ({turned.low:.3f} to {turned.high:.3f})")
        return f"On {self.images} unlabelled proxies: {', '.join(words)}."

    @property
    def objective(self) -> Objective:
        """Return by what knobs are chosen here: KL where every task has a head, feature direction otherwise."""
        return "direction" if self.divergence is None else "divergence"

    @property
    def height(self) -> float:
        """Return the objective so that more is better: minus KL, or the feature direction (NaN if unknown)."""
        return self.direction.value if self.divergence is None else -self.divergence.value
