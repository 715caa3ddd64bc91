"""The eigenvalue spectrum of an output shift: noise floor, weights of directions, cumulative energy, ranks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from esm_viz.core.errors import NumericsError

FLOOR = 1e-10
"""λ at or below FLOOR · λ_1 is rounding noise: its direction is arbitrary, so its weight is 0 (ours; METHOD, ESD)."""


def live_directions(eigenvalues: Tensor) -> Tensor:
    """Say which directions have energy above rounding noise.

    Args:
        eigenvalues: λ, (k,), descending, in squared activation.

    Returns:
        Booleans, (k,); all False if the task did not change the layer.
    """
    return eigenvalues > FLOOR * eigenvalues[:1].clamp_min(0)


def spectrum_weights(eigenvalues: Tensor, exponent: float, count: int) -> Tensor:
    """Return weights of directions by energy: (λ / mean λ)^γ over its mean (arXiv:2606.19164, spectrum level).

    Args:
        eigenvalues: λ, (k,), float64, descending, in squared activation; k <= count, missing ones are zeros.
        exponent: γ, no unit; with 0, all directions above the noise floor have equal weights.
        count: r, the number of directions in the mean, including those at the noise floor.

    Returns:
        w, (k,), no unit; its sum is `count`; 0 for directions at the noise floor.
    """
    live = live_directions(eigenvalues)
    ratio = torch.where(live, eigenvalues, 1.0) / eigenvalues[:1].clamp_min(torch.finfo(eigenvalues.dtype).tiny)
    weights = torch.where(live, ratio**exponent, 0.0)  # mean λ cancels in the next line
    return weights * (count / weights.sum()) if live.any() else weights


def cumulative_energy(energies: Tensor) -> Tensor:
    """Return the share of energy kept by the first k directions, k = 1..d (all 1 if there is no energy)."""
    energies = energies.clamp_min(0)
    total = energies.sum()
    return energies.cumsum(0).div(total).clamp_max(1.0) if total > 0 else torch.ones_like(energies)


def rank_for_energy(energies: Tensor, share: float) -> int:
    """Return the smallest number of leading directions that keep `share` of the energy; 0 if there is no energy.

    Args:
        energies: per direction, (d,), non-negative, in the order in which they are kept.
        share: between 0 and 1.
    """
    if not energies.clamp_min(0).sum() > 0:
        return 0
    kept = cumulative_energy(energies)
    return min(int((kept < share * (1 - 1e-12)).sum()) + 1, len(energies))


def least_ratio(d_out: int, tasks: int, step: float) -> float:
    """Return the least ρ that leaves every task a direction, rounded up to a multiple of `step`; over 1: none does."""
    return round(math.ceil(tasks / d_out / step - 1e-9) * step, 10)


def rank_of_ratio(rank_ratio: float, d_out: int, tasks: int) -> int:
    """Return r = floor(ρ · d_out / T), the number of directions per task at a layer.

    Raises:
        NumericsError: r is 0, or T · r is larger than d_out.
    """
    if tasks > d_out:
        raise NumericsError(
            f"{tasks} tasks are more than the {d_out} directions there are, so that no rank fits",
            "take fewer tasks, or a method without a rank",
        )
    rank = math.floor(rank_ratio * d_out / tasks + 1e-9)  # 0.3 · 10 is 2.9999…
    if rank < 1:
        raise NumericsError(
            f"rank_ratio {rank_ratio:g} leaves r = 0 of {d_out} directions for {tasks} tasks",
            f"use at least {least_ratio(d_out, tasks, 1e-4):g}",
        )
    if rank * tasks > d_out:
        raise NumericsError(
            f"rank_ratio {rank_ratio:g} asks for {tasks} x {rank} directions of {d_out}", "use at most 1"
        )
    return rank
