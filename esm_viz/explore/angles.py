"""Principal angles between two tasks' essential subspaces at a layer, compared with those of random subspaces."""

from __future__ import annotations

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Angles
from esm_viz.numerics.subspace_overlap import principal_angles, random_subspace
from esm_viz.stages.leading_directions import leading, rank_of, task_key
from esm_viz.stages.merge_stages import Stages
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import recorded_question

_RANDOM_SEED = 0  # seed of the random subspaces that angles are compared with


@recorded_question
def angles(project: OpenedProject, layer_name: str, task_a: str, task_b: str, recipe: Recipe) -> Angles:
    """Return the principal angles between two tasks' essential subspaces, and those of two random ones of that size."""
    stages, recipe, layer = project.stages, project.settled(recipe), project.layer(layer_name)
    tasks = project.known_task(task_a), project.known_task(task_b)
    rank = rank_of(stages, recipe, layer)
    key = ("angles", rank, layer.name, stages.device, *(task_key(stages, recipe, task) for task in tasks))

    def compute() -> tuple[tuple[float, ...], tuple[float, ...]]:
        left, right = (leading(stages.decomposition(recipe, task, layer), rank) for task in tasks)
        random = random_angles(stages, layer.d_out, (left.shape[1], right.shape[1]))
        return tuple(principal_angles(left, right).tolist()), random

    return Angles(layer, tasks, *stages.cache.get(key, compute))


def random_angles(stages: Stages, d_out: int, sizes: tuple[int, int]) -> tuple[float, ...]:
    """Return the principal angles of two random subspaces, drawn once, with a fixed seed, per shape of layer."""

    def compute() -> tuple[float, ...]:
        left, right = (random_subspace(d_out, size, _RANDOM_SEED + at) for at, size in enumerate(sizes))
        return tuple(principal_angles(left, right).tolist())

    return stages.cache.get(("random angles", d_out, sizes), compute)
