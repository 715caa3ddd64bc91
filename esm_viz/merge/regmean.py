"""RegMean: the linear layer whose outputs are, by least squares, nearest to each expert's on that task's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from esm_viz.core.records import Knob
from esm_viz.merge.averaging import mean_delta
from esm_viz.merge.method_registry import LayerUpdate, Memo, merge_method, run_now
from esm_viz.numerics.least_squares import least_norm_solution

OFF_DIAGONAL = Knob(
    label="Correlations",
    symbol="f",
    range=(0.0, 1.0, 0.05),
    wakes="product",
    text="How much correlations between inputs count: 1 fits the proxies best, less is more stable with few proxies.",
    formula="S<sub>ij</sub> ← {value} · S<sub>ij</sub> for i ≠ j",
    no_effect=lambda now: "No effect: correlations stay as measured." if now.value == 1 else "",
)


class Equations(NamedTuple):
    """Both sides of S ΔWᵀ = Σ_t S_t ΔW_tᵀ, S = Σ_t S_t; the parts are linear in the off-diagonal factor.

    Attributes:
        moments: S, (d_in, d_in), float64, in squared activation, including correlations.
        pulled: Σ_t S_t ΔW_tᵀ, (d_in, d_out).
        pulled_apart: the same sum with only the diagonal of each S_t.
    """

    moments: Tensor
    pulled: Tensor
    pulled_apart: Tensor


@merge_method(
    "regmean",
    title="RegMean",
    source="arXiv:2212.09849",
    formula="{ΔW<sup>⊤</sup> = (Σ<sub>t</sub> S<sub>t</sub>)<sup>+</sup> Σ<sub>t</sub> S<sub>t</sub> "
    "ΔW<sub>t</sub><sup>⊤</sup>}, "
    "{S<sub>t</sub> = X<sub>t</sub><sup>⊤</sup> X<sub>t</sub> / n<sub>t</sub>}; "
    "parameters without moments are averaged.",
    needs="moments",
)
def regmean(
    updates: Sequence[LayerUpdate], memo: Memo = run_now, off_diagonal: Annotated[float, OFF_DIAGONAL] = 0.9
) -> Tensor:
    """ΔWᵀ = (Σ_t S_t)⁺ Σ_t S_t ΔW_tᵀ, S_t = X_tᵀX_t / n_t; parameters without moments are averaged."""
    if not updates[0].measured:
        return memo("product", (), lambda: mean_delta(updates))
    return memo(
        "product", (off_diagonal,), lambda: _solve(memo("basis", (), lambda: _equations(updates)), off_diagonal)
    )


def _equations(updates: Sequence[LayerUpdate]) -> Equations:
    """Sum both sides, one task at a time."""
    first = updates[0]
    moments = first.moment.matrix.new_zeros(first.d_in, first.d_in)
    pulled, pulled_apart = moments.new_zeros(first.d_in, first.d_out), moments.new_zeros(first.d_in, first.d_out)
    for update in updates:
        delta, moment = update.delta.mT, update.moment.matrix / max(update.moment.tokens, 1)
        moments += moment
        pulled.addmm_(moment, delta)
        pulled_apart.addcmul_(moment.diagonal()[:, None], delta)
    return Equations(moments, pulled, pulled_apart)


def _solve(equations: Equations, off_diagonal: float) -> Tensor:
    """Return the least-norm ΔW with the other entries of each S_t multiplied by `off_diagonal`."""
    moments = off_diagonal * equations.moments
    moments.diagonal().copy_(equations.moments.diagonal())
    return least_norm_solution(moments, torch.lerp(equations.pulled_apart, equations.pulled, off_diagonal)).mT
