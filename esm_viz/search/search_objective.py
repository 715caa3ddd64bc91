"""What knobs are chosen by: accuracy on labelled images or, without labels, agreement with the experts on proxies.

KL(expert ‖ merged) on unlabelled proxies chooses as well as labels do, any knob, where every task has a head. Without
heads, feature direction finds α within one method and is wrong between recipes (METHOD, choosing without labels). It
is wrong for a routed model's α too, whose adapters make up for a merge that is too small: there it is measured on the
merged weights alone.
"""

from __future__ import annotations

from esm_viz.core.errors import EsmVizError, HeadError, ImagesError
from esm_viz.core.progress import Progress
from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Evaluation, ExpertAgreement, Objective
from esm_viz.data.images.image_source import evenly_spaced
from esm_viz.evaluation.accuracy_measurement import evaluate_to_normalise
from esm_viz.evaluation.agreement_measurement import agreement
from esm_viz.inspection.opened_files import MOST_PROXIES
from esm_viz.merge import static_part
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import question

CHOSEN: dict[Objective, str] = {
    "normalised": "by accuracy on labelled validation images",
    "divergence": "without labels, by KL(expert ‖ merged) on the proxies",
    "direction": "without labels and heads, by feature direction on the proxies",
}
"""What a knob was chosen by, for a sentence."""


def objective_of(project: OpenedProject, *, alpha_alone: bool) -> Objective:
    """Return what the project's files allow to choose knobs by.

    Args:
        project: the opened project.
        alpha_alone: whether recipes differ in α alone, so that feature direction may choose.

    Raises:
        ImagesError: tasks have neither labelled validation images nor proxies.
        HeadError: recipes differ in more than α, and a task has no head.
    """
    if project.has_labels("validation") and project.has_heads:
        return "normalised"
    if not project.has_proxies:
        raise ImagesError("there is nothing to measure by", "give every task proxies, or labelled images and a head")
    if project.has_heads:
        return "divergence"
    if not alpha_alone:
        lacking = [task for task in project.tasks if task not in project.headers.heads]
        wrong = f"{', '.join(lacking)} {'has' if len(lacking) == 1 else 'have'} no head to choose knobs other than α by"
        raise HeadError(wrong, "give `head` in the recipe, class names are enough to make one")
    return "direction"


def alpha_objective(project: OpenedProject, recipe: Recipe) -> Objective | None:
    """Return what a search will choose the recipe's α by; None if α is a number already.

    Raises:
        ImagesError: tasks have neither labelled validation images nor proxies.
    """
    searched = project.settled(recipe).parameters["alpha"] == "search"
    return objective_of(project, alpha_alone=True) if searched else None


@question
def search_objective(project: OpenedProject, *, alpha_alone: bool = True) -> Objective | None:
    """Return what knobs can be chosen by; None if by nothing. Arguments as in `objective_of`."""
    try:
        return objective_of(project, alpha_alone=alpha_alone)
    except EsmVizError:
        return None


def measured_for_choice(
    project: OpenedProject, recipe: Recipe, objective: Objective, limit: int, progress: Progress
) -> Evaluation | ExpertAgreement:
    """Measure a recipe by what knobs are chosen by.

    Args:
        project: the opened project.
        recipe: a recipe of this project, with a number for α.
        objective: from `objective_of`.
        limit: images per task, labelled or proxies; 0 = all.
        progress: callback, may raise Cancelled.

    Raises:
        HeadError: an expert has a validation accuracy of 0, so accuracy cannot be divided by it.
    """
    if objective == "normalised":
        return evaluate_to_normalise(project, recipe, limit, progress)
    return agreement(project, static_part(recipe) if objective == "direction" else recipe, limit, progress)


def height_of(measured: Evaluation | ExpertAgreement) -> float:
    """Return the objective, more is better: mean normalised accuracy, minus KL, or direction; NaN if unknown."""
    return measured.mean_normalised if isinstance(measured, Evaluation) else measured.height


def images_for_choice(project: OpenedProject, objective: Objective, limit: int) -> int:
    """Return the number of images that `measured_for_choice` measures on over all tasks, without known broken ones."""
    sets = project.headers.labelled["validation"] if objective == "normalised" else project.headers.proxies
    counts = (
        listed.count if objective == "normalised" else min(listed.count, MOST_PROXIES) for listed in sets.values()
    )
    return sum(
        listed.usable_of(evenly_spaced(count, limit)) for listed, count in zip(sets.values(), counts, strict=True)
    )
