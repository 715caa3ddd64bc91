"""ESM++: the weights of ESM with low-rank adapters; at every routed layer, each image is routed to one task's adapter.

The weights are exactly those of ESM and share its stages. `numerics/low_rank_adapter.py` computes the adapters,
`families/prototype_routing.py` routes the images.
"""

from __future__ import annotations

from itertools import combinations

from esm_viz.core.records import LAYER_ROLES, Knob, Setting
from esm_viz.merge.esm import AFTER, ALPHA_IN_SCOPE, JOURNAL, JOURNAL_EXPONENTS, esm, live_effects
from esm_viz.merge.method_registry import Preset, merge_method


def _count_routed(now: Setting) -> str:
    """Return the number of layers with adapters, as text."""
    routed = str(now.value).split("+")
    return str(sum(layer.role in routed for layer in now.layers))


EXPERT_RANK = Knob(
    label="Adapter rank",
    symbol="r<sub>e</sub>",
    range=(1, 128, 1),
    wakes="adapters",
    text="The largest rank of each task's adapter, which adds back what the merge lost of its expert.",
    formula="+ x A<sub>t</sub><sup>⊤</sup> B<sub>t</sub><sup>⊤</sup> of rank {value}",
    whole=True,
)
ROUTED = Knob(
    label="Routed layers",
    symbol="",
    range=None,
    wakes="adapters",
    text="Which matrices have adapters, in CLIP's names: q, k, v (in_proj), attention's output (out_proj), the MLP's "
    "first and last (c_fc, c_proj); the others use ESM's weights alone.",
    formula="+ x A<sub>t</sub><sup>⊤</sup> B<sub>t</sub><sup>⊤</sup> in {value} layers",
    choices=tuple("+".join(some) for size in range(1, 5) for some in combinations(LAYER_ROLES, size)),
    write_value=_count_routed,
    folded=True,
)

merge_method(
    "esmpp",
    title="ESM++",
    source=JOURNAL,
    needs="decompositions",
    after={**AFTER, "expert_rank": (EXPERT_RANK, 32), "routed": (ROUTED, "in_proj+c_fc")},
    live=live_effects,
    summary="ESM's weights and, per image and layer, the low-rank adapter of the task with the nearest prototype.",
    static="esm",
    presets=[
        Preset(
            f"adapters of rank {rank}",
            {**JOURNAL_EXPONENTS, "expert_rank": rank},
            f"esmpp_{rank}",
            f"ESM++, r = {rank}",
        )
        for rank in (8, 32)
    ],
    alpha=ALPHA_IN_SCOPE,
)(esm)
