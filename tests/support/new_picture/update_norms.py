"""How large one task's change is, layer by layer: a question that only a test adds."""

from __future__ import annotations

from esm_viz.core.records.update_norms_record import UpdateNorms

from esm_viz.core.recipe import Recipe
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import recorded_question


@recorded_question
def update_norms(project: OpenedProject, task: str, recipe: Recipe) -> UpdateNorms:
    """Return ‖ΔW_t‖_F of every layer."""
    deltas = (project.stages.delta(recipe, task, layer.name) for layer in project.layers)
    values = tuple(float(delta.norm()) for delta in deltas)
    return UpdateNorms(task, tuple(layer.label for layer in project.layers), values)
