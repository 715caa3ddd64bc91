"""The low-rank adapter of ESM++: the difference of expert and merged weights, in its first essential directions."""

from __future__ import annotations

from torch import Tensor

from esm_viz.numerics.essential_subspace_decomposition import esd
from esm_viz.numerics.second_moments import Moment


def low_rank_adapter(residual: Tensor, moment: Moment, rank: int) -> tuple[Tensor, Tensor]:
    """Return B_t = Ê_t and A_t = Ê_tᵀ δW_t from the ESD of X_t δW_tᵀ (arXiv:2606.19164; METHOD, ESM++ step 2).

    Args:
        residual: δW_t = W_t − W_ESM, (d_out, d_in), float64.
        moment: second moment of X_t, the layer's input in the expert.
        rank: r; directions at the noise floor are left out.

    Returns:
        B_t, (d_out, k), with orthonormal columns, and A_t, (k, d_in); k <= r, and 0 if the weights are equal.

    Raises:
        NumericsError: residual or moment holds a NaN or Inf.
    """
    basis = esd(residual, moment, rank).vectors
    return basis, basis.mT @ residual
