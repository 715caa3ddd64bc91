"""ESM++: ESM's weights, and beside them low-rank experts that each image chooses for itself at every routed layer.

The weights are ESM's to the last bit and share its stages. What the experts are is in `numerics/experts.py`, how an
image finds its own in `models/routed.py`.
"""

from __future__ import annotations

from itertools import combinations

from esm_viz.core.records import FAMILIES, Knob
from esm_viz.merge.esm import AFTER, esm, live_effects
from esm_viz.merge.method_registry import merge_method

EXPERT_RANK = Knob(
    label="Expert rank",
    symbol="r<sub>e</sub>",
    range=(1, 128, 1),
    wakes="experts",
    text="How many directions of what the merge lacks each task's expert gives back, at most.",
    formula=r"B_t = \hat E_t,\; A_t = \hat E_t^\top (W_t - W_\mathrm{ESM}),\; r_e\ \mathrm{columns}",
    whole=True,
)
ROUTED = Knob(
    label="Routed layers",
    symbol="",
    range=None,
    wakes="experts",
    text="Which families of layers have experts, joined by +; the others work with ESM's weights alone.",
    formula=r"y = x W_\mathrm{ESM}^\top + (x A_t^\top) B_t^\top",
    choices=tuple("+".join(some) for size in range(1, 5) for some in combinations(FAMILIES, size)),
)

merge_method(
    "esmpp",
    title="ESM++",
    source="arXiv:2606.19164",
    needs="decompositions",
    after={**AFTER, "expert_rank": (EXPERT_RANK, 32), "routed": (ROUTED, "in_proj+c_fc")},
    live=live_effects,
    summary="ESM's weights and, per image and layer, the low-rank expert of the task with the nearest prototype.",
    static="esm",
)(esm)
