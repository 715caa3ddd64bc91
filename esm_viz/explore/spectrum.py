"""The spectrum of one task's output shift at a layer, and the energy that its first directions keep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from esm_viz.core.recipe import Recipe
from esm_viz.core.records import Spectrum
from esm_viz.numerics.eigenvalue_spectrum import cumulative_energy, rank_for_energy
from esm_viz.numerics.essential_subspace_decomposition import functional_energies
from esm_viz.stages.leading_directions import rank_of
from esm_viz.stages.opened_project import OpenedProject
from esm_viz.stages.project_question import recorded_question


@recorded_question
def spectrum(project: OpenedProject, task: str, layer_name: str, recipe: Recipe) -> Spectrum:
    """Return the eigenvalues, and the energy kept by the first k directions of ESD and of SVD, k = 1..d_out."""
    stages, recipe = project.stages, project.settled(recipe)
    task, layer = project.known_task(task), project.layer(layer_name)
    decomposition = stages.decomposition(recipe, task, layer)
    moment, delta = stages.moment(recipe, task, layer), stages.delta(recipe, task, layer.name)
    plain = functional_energies(stages.svd(recipe, task, layer).vectors, delta, moment)
    eigenvalues = _padded(decomposition.eigenvalues, layer.d_out)
    return Spectrum(
        task=task,
        layer=layer,
        eigenvalues=tuple(eigenvalues.tolist()),
        energy=tuple(cumulative_energy(eigenvalues).tolist()),
        energy_svd=tuple(cumulative_energy(_padded(plain, layer.d_out)).tolist()),
        rank=rank_of(stages, recipe, layer),
    )


@recorded_question
def ranks_for_energy(project: OpenedProject, task: str, layer_name: str, shares: Sequence[float]) -> tuple[int, ...]:
    """Return, for each share of the energy, the smallest number of ESD directions that keep it."""
    where = project.known_task(task), project.layer(layer_name)
    eigenvalues = project.stages.decomposition(project.recipe, *where).eigenvalues
    return tuple(rank_for_energy(eigenvalues, share) for share in shares)


def _padded(values: Tensor, length: int) -> Tensor:
    return torch.cat([values, values.new_zeros(length - len(values))])
