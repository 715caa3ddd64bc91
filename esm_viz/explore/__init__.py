"""Explore: what fine-tuning did to the model and what a merge does with it, as records that figures draw.

One file a question: `subspaces` (spectra, ranks, overlaps, angles), `subspace_map`, `stability`, `patches`, `scaling`.
"""

from esm_viz.explore.patches import MOST_PATCHES, patches
from esm_viz.explore.scaling_profile import scaling_profile
from esm_viz.explore.stability import stability
from esm_viz.explore.subspace_map import subspace_map
from esm_viz.explore.subspaces import MAP_KINDS, angles, layer_map, overlaps, pairs_of, rank_of, spectrum

__all__ = [
    "MAP_KINDS",
    "MOST_PATCHES",
    "angles",
    "layer_map",
    "overlaps",
    "pairs_of",
    "patches",
    "rank_of",
    "scaling_profile",
    "spectrum",
    "stability",
    "subspace_map",
]
