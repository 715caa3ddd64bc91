"""ESM: orthogonalized fusion of essential subspaces with polarized scaling.

Three stages are cached: the frame, which depends on no knob; the basis (ρ, γ), which has the slow polar factor; and the
product (ρ, γ, p_task, p_dim). The inter-layer level and α are one number per layer and are applied after the merge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from esm_viz.core.records import Knob, Setting, Span, Value
from esm_viz.merge.method_registry import ALPHA, LayerUpdate, Memo, Preset, merge_method, no_merge, run_now
from esm_viz.merge.tsv_m import merge_singular_vectors
from esm_viz.numerics.eigenvalue_spectrum import live_directions, rank_of_ratio, spectrum_weights
from esm_viz.numerics.gram_svd import gram, right_levels, through_polar
from esm_viz.numerics.polar_factor import orthogonalized
from esm_viz.numerics.polarized_scaling import relative_power

CVPR, JOURNAL = "arXiv:2602.20208", "arXiv:2606.19164"
SCOPES = {"all": "all tensors", "essential": "ESD layers only"}


def _level_at_one(now: Setting) -> str:
    """Say why a level of polarized scaling has no effect, which is when all its factors are 1."""
    if now.effect is None or [round(end, 2) for end in now.effect] != [1, 1]:
        return ""
    return f"No effect: {'this level is off' if now.value == 0 else 'all its factors are 1'}."


def _no_merge_in_scope(now: Setting) -> str:
    """Say what the model is with α = 0; if α scales only the ESD layers, the others stay merged."""
    if now.value == 0 and now.parameters["alpha_scope"] == "essential":
        return "No effect of the ESD layers: α is 0, they are the pre-trained model's."
    return no_merge(now)


RANK_RATIO = Knob(
    label="Rank",
    symbol="ρ",
    range=(0.01, 1.0, 0.01),
    wakes="basis",
    text="How many essential directions each task keeps at each layer.",
    formula='<span class="m">r</span> = ⌊ρ · d<sub>out</sub> / T⌋ = {live}',
    write_live="{:g}".format,
    role="rank",
)
SPECTRUM_EXPONENT = Knob(
    label="Spectrum",
    symbol="γ",
    range=(0.0, 1.0, 0.05),
    wakes="basis",
    text="Makes a task's strong directions stronger and its weak ones weaker.",
    formula='<span class="m">w</span> = (λ / mean λ)<sup>γ</sup>: {live}',
    no_effect=_level_at_one,
    role="spectrum",
)
TASK_EXPONENT = Knob(
    label="Task power",
    symbol="p<sub>task</sub>",
    range=(0.0, 4.0, 0.1),
    wakes="coordinates",
    text="Makes tasks that changed more at a layer count more there.",
    formula="(‖ΔW<sub>t</sub>‖ / mean)<sup>p</sup>: {live}",
    no_effect=_level_at_one,
    role="task",
)
DIMENSION_EXPONENT = Knob(
    label="Dimension power",
    symbol="p<sub>dim</sub>",
    range=(0.0, 4.0, 0.1),
    wakes="coordinates",
    text="Makes input dimensions that all tasks use count more.",
    formula="(‖C<sub>:j</sub>‖ / mean)<sup>p</sup>: {live}",
    no_effect=_level_at_one,
    role="dimension",
)
GAIN = Knob(
    label="Gain",
    symbol="g",
    range=(0.0, 4.0, 0.1),
    wakes="product",
    text="Size of the fused change before α, on the essential layers.",
    formula="ΔW = {value} · ortho(E) ortho(C)",
    no_effect=lambda now: "No effect of the ESD layers: their change is times 0." if now.value == 0 else "",
    folded=True,
)
LAYER_EXPONENT = Knob(
    label="Layer power",
    symbol="p<sub>layer</sub>",
    range=(0.0, 4.0, 0.1),
    wakes="weights",
    text="Makes layers whose merged change is large larger, small ones smaller, within each family.",
    formula="(‖ΔW<sup>l</sup>‖ / mean)<sup>p</sup>: {live}",
    no_effect=_level_at_one,
    role="layer",
)
ALPHA_SCOPE = Knob(
    label="α scales",
    symbol="",
    range=None,
    wakes="weights",
    text="all: every merged tensor; essential: the ESD layers only, the others stay at full strength.",
    formula='<span class="m">W</span> = W<sub>0</sub> + α ΔW on {value}',
    choices=tuple(SCOPES),
    no_effect=lambda now: "No effect: at α 1 both are the same." if now.parameters["alpha"] == 1 else "",
    write_value=lambda now: SCOPES[str(now.value)],
    folded=True,
)
ALPHA_IN_SCOPE = replace(
    ALPHA,
    formula='<span class="m">W</span> = W<sub>0</sub> + {value} · ΔW, {alpha_scope}',
    no_effect=_no_merge_in_scope,
)
AFTER: Mapping[str, tuple[Knob, Value]] = {
    "layer_exponent": (LAYER_EXPONENT, 2.0),
    "alpha_scope": (ALPHA_SCOPE, "all"),
}


def _exponents(spectrum: float, others: float) -> dict[str, Value]:
    """Return the four exponents of polarized scaling: γ, and p_task = p_dim = p_layer."""
    powers: dict[str, Value] = dict.fromkeys(("task_exponent", "dimension_exponent", "layer_exponent"), others)
    return {"spectrum_exponent": spectrum, **powers}


JOURNAL_EXPONENTS = _exponents(0.15, 2.0)


class Frame(NamedTuple):
    """The stage of a layer that depends on no knob: all tasks' essential directions at full rank, and their overlaps.

    Attributes:
        directions: [Ê_1 … Ê_T], (d_out, n), float64: each task's directions with λ above the noise floor, at most
            floor(d_out / T).
        overlaps: their inner products, (n, n): with weights w, EᵀE = w_i w_j overlaps_ij for every ρ and γ.
        coordinates: [Ĉ_1; …; Ĉ_T], (n, d_in), multiplied by the tasks' weights.
        eigenvalues: λ of each task's directions, multiplied by the square of its weight.
        norms: per task, ‖ΔW_t‖_F multiplied by its weight.
    """

    directions: Tensor
    overlaps: Tensor
    coordinates: Tensor
    eigenvalues: tuple[Tensor, ...]
    norms: Tensor


class Basis(NamedTuple):
    """The stage of a layer that depends only on ρ and γ.

    If the stack of rows is tall, p_task and p_dim can be applied without it: with task factors s_t and dimension
    factors D, C = [s_t rows_t] D has CᵀC = D (Σ s_t² G_t) D and ortho(E) C = (Σ s_t P_t) D.

    Attributes:
        rows: per task, w_t · Ĉ_t, (directions of the task, d_in), float64.
        grams: G_t = rowsᵀ rows, (d_in, d_in), per task; empty if the stack of rows is wider than tall.
        products: P_t = ortho(E)_t rows_t, (d_out, d_in), per task; empty if the stack is wider than tall.
        ortho: ortho(E), (d_out, directions of all tasks), if the stack of rows is wider than tall; None otherwise.
        norms: per task, ‖ΔW_t‖_F multiplied by the task's weight.
        rank: r, including directions below the noise floor.
        weights: least and greatest w over the directions of all tasks; (1, 1) if no task changed the layer.
    """

    rows: tuple[Tensor, ...]
    grams: tuple[Tensor, ...]
    products: tuple[Tensor, ...]
    ortho: Tensor | None
    norms: Tensor
    rank: int
    weights: Span


class Fused(NamedTuple):
    """ortho(E) ortho(C), (d_out, d_in), float64, without gain; and the least and greatest factor of each level."""

    product: Tensor
    task_factors: Span
    dimension_factors: Span


def live_effects(
    updates: Sequence[LayerUpdate],
    memo: Memo,
    rank_ratio: float,
    spectrum_exponent: float,
    task_exponent: float,
    dimension_exponent: float,
    gain: float,
) -> dict[str, Span]:
    """Return the least and greatest value of each knob's formula at one layer; empty if ESD does not apply there."""
    if not updates[0].essential:
        return {}
    basis, fused = _stages(updates, memo, rank_ratio, spectrum_exponent, task_exponent, dimension_exponent)
    return {
        "rank_ratio": (basis.rank, basis.rank),
        "spectrum_exponent": basis.weights,
        "task_exponent": fused.task_factors,
        "dimension_exponent": fused.dimension_factors,
        "gain": (gain, gain),
    }


@merge_method(
    "esm",
    title="ESM",
    source=f"{CVPR}, {JOURNAL}",
    formula="{ΔW = gain · ortho(E) ortho(C)} on essential layers; TSV-M on the other matrices.",
    needs="decompositions",
    after=AFTER,
    live=live_effects,
    presets=[
        Preset("all four exponents 0", _exponents(0.0, 0.0), "esm_unscaled", "ESM, no scaling", CVPR),
        Preset("powers 2, γ 0", _exponents(0.0, 2.0), "esm_cvpr", "ESM CVPR", CVPR),
        Preset("powers 2, γ 0.15", JOURNAL_EXPONENTS, "esm_journal", "ESM journal", JOURNAL),
    ],
    alpha=ALPHA_IN_SCOPE,
)
def esm(
    updates: Sequence[LayerUpdate],
    memo: Memo = run_now,
    rank_ratio: Annotated[float, RANK_RATIO] = 1.0,
    spectrum_exponent: Annotated[float, SPECTRUM_EXPONENT] = 0.15,
    task_exponent: Annotated[float, TASK_EXPONENT] = 2.0,
    dimension_exponent: Annotated[float, DIMENSION_EXPONENT] = 2.0,
    gain: Annotated[float, GAIN] = 2.0,
) -> Tensor:
    """ΔW = gain · ortho(E) ortho(C) on essential layers; TSV-M on the other matrices."""
    if not updates[0].essential:
        return memo("product", (), lambda: merge_singular_vectors(updates))
    _, fused = _stages(updates, memo, rank_ratio, spectrum_exponent, task_exponent, dimension_exponent)
    return fused.product * gain


def _stages(
    updates: Sequence[LayerUpdate], memo: Memo, rank_ratio: float, gamma: float, p_task: float, p_dim: float
) -> tuple[Basis, Fused]:
    rank = rank_of_ratio(rank_ratio, updates[0].d_out, len(updates))
    basis = memo("basis", (rank_ratio, gamma), lambda: essential_basis(_frame(updates, memo), rank, gamma))
    fused = memo("coordinates", (rank_ratio, gamma, p_task, p_dim), lambda: fuse(basis, p_task, p_dim))
    return basis, fused


def _frame(updates: Sequence[LayerUpdate], memo: Memo) -> Frame:
    return memo("frame", (), lambda: essential_frame(updates))


def essential_frame(updates: Sequence[LayerUpdate]) -> Frame:
    """Stack the tasks' essential directions and coordinates (METHOD, ESM step 1, before any weights).

    Args:
        updates: one layer's changes, in the recipe's order.
    """
    most = max(updates[0].d_out // len(updates), 1)
    directions, coordinates, spectra, norms = [], [], [], []
    for update in updates:
        delta, (eigenvalues, vectors) = update.delta, update.decomposition
        eigenvalues = eigenvalues[:most] * update.weight**2  # a task of weight 0 has no energy
        live = int(live_directions(eigenvalues).sum())
        directions.append(vectors[:, :live])
        coordinates.append(vectors[:, :live].mT @ delta)
        spectra.append(eigenvalues[:live])
        norms.append(torch.linalg.vector_norm(delta))
    stack = torch.cat(directions, 1)
    return Frame(stack, gram(stack), torch.cat(coordinates), tuple(spectra), torch.stack(norms))


def essential_basis(frame: Frame, rank: int, spectrum_exponent: float) -> Basis:
    """Select, weight and orthogonalize the tasks' essential directions (METHOD, spectrum level and ESM step 2).

    Args:
        frame: the layer's frame.
        rank: r, the most directions per task.
        spectrum_exponent: γ.
    """
    d_out, tasks = len(frame.directions), len(frame.eigenvalues)
    by_task = [spectrum_weights(eigenvalues[:rank], spectrum_exponent, rank) for eigenvalues in frame.eigenvalues]
    weights = torch.cat(by_task)
    span = _span(weights) if len(weights) else (1.0, 1.0)
    chosen = _chosen([len(eigenvalues) for eigenvalues in frame.eigenvalues], rank)
    directions, overlaps, coordinates = frame.directions, frame.overlaps, frame.coordinates
    if len(chosen) < directions.shape[1]:
        directions, coordinates = directions[:, chosen], coordinates[chosen]
        overlaps = overlaps[chosen][:, chosen]
    rows = (coordinates * weights[:, None]).split([len(part) for part in by_task])
    count = min(d_out, rank * tasks)  # columns of zeros count in the mean over singular values
    ortho = _orthogonalized(directions, overlaps, weights, count)
    if len(coordinates) < coordinates.shape[1]:
        return Basis(rows, (), (), ortho, frame.norms, rank, span)
    sides = ortho.split([len(part) for part in rows], dim=1)
    products = tuple(side @ part for side, part in zip(sides, rows, strict=True))
    return Basis(rows, tuple(gram(part) for part in rows), products, None, frame.norms, rank, span)


def _chosen(sizes: Sequence[int], rank: int) -> Tensor:
    """Return the indices of every task's first r directions in the stack of all directions."""
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    return torch.cat([torch.arange(start, start + min(size, rank)) for start, size in zip(starts, sizes, strict=True)])


def _orthogonalized(directions: Tensor, overlaps: Tensor, weights: Tensor, count: int) -> Tensor:
    """Return ortho(E) of E = Ê w, with the mean over `count` singular values."""
    if not len(weights):
        return directions
    factors = weights / weights.max()
    stack = directions * factors
    levels = right_levels(factors[:, None] * overlaps * factors, lambda vectors: stack @ vectors)
    nuclear = torch.stack([level.values.sum() for level in levels]).sum() * weights.max()
    return through_polar(stack, levels).mul_(nuclear / count)


def fuse(basis: Basis, task_exponent: float, dimension_exponent: float) -> Fused:
    """Scale the coordinates by task and dimension, orthogonalize, and multiply by the basis (METHOD, ESM steps 1 to 3).

    Args:
        basis: the layer's basis.
        task_exponent: p_task.
        dimension_exponent: p_dim.
    """
    by_task = relative_power(basis.norms, task_exponent)
    count = min(basis.rank * len(basis.rows), basis.rows[0].shape[1])  # rows of zeros count in the mean
    stack = partial(_stack, basis.rows, by_task)
    if basis.ortho is not None:
        rows = stack()
        by_dimension = relative_power(torch.linalg.vector_norm(rows, dim=0), dimension_exponent)
        factor = basis.ortho @ orthogonalized(rows * by_dimension, count)
        return Fused(factor, _span(by_task), _span(by_dimension))
    squares = _weighted_sum(basis.grams, by_task.square())
    norms = squares.diagonal().sqrt()
    by_dimension = relative_power(norms, dimension_exponent)
    scale = (norms * by_dimension).max()
    if scale == 0:
        return Fused(torch.zeros_like(basis.products[0]), _span(by_task), _span(by_dimension))
    factors = by_dimension / scale
    levels = right_levels(
        factors[:, None] * squares * factors,
        lambda vectors: stack() @ (factors[:, None] * vectors),
    )
    nuclear = torch.stack([level.values.sum() for level in levels]).sum() * scale
    product = through_polar(_weighted_sum(basis.products, by_task) * factors, levels)
    return Fused(product * (nuclear / count), _span(by_task), _span(by_dimension))


def _stack(rows: Sequence[Tensor], by_task: Tensor) -> Tensor:
    """Return C before its dimensions are scaled, (directions of all tasks, d_in)."""
    return torch.cat([part * factor for part, factor in zip(rows, by_task, strict=True)])


def _weighted_sum(parts: Sequence[Tensor], weights: Tensor) -> Tensor:
    total = parts[0] * weights[0]
    for part, weight in zip(parts[1:], weights[1:].tolist(), strict=True):
        total.add_(part, alpha=weight)
    return total


def _span(factors: Tensor) -> tuple[float, float]:
    return float(factors.min()), float(factors.max())
