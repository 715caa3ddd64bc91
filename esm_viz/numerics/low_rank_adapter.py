"""ESM++'s adapters: what a merged layer lacks of one task, in the few directions where that task's outputs show it."""

from __future__ import annotations

from torch import Tensor

from esm_viz.numerics.essential_subspace_decomposition import esd
from esm_viz.numerics.second_moments import Moment


def low_rank_adapter(residual: Tensor, moment: Moment, rank: int) -> tuple[Tensor, Tensor]:
    """Return B_t = Ê_t and A_t = Ê_tᵀ δW_t from the ESD of X_t δW_tᵀ (arXiv:2606.19164; METHOD, ESM++ step 2).

    Args:
        residual: δW_t = W_t − W_ESM, (d_out, d_in), float64.
        moment: of X_t, the layer's input in the fine-tuned model.
        rank: r, of which directions at rounding level are left out.

    Returns:
        B_t, (d_out, k), with orthonormal columns, and A_t, (k, d_in); k <= r, and 0 where nothing is lacking.

    Raises:
        NumericsError: residual or moment holds a NaN or Inf.
    """
    basis = esd(residual, moment, rank).vectors
    return basis, basis.mT @ residual
