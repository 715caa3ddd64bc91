"""The frozen records that pass between rooms, and the few words that all of them share.

Shapes: T tasks, L layers, W (d_out, d_in), n tokens. Records hold tuples of floats, never tensors, so that they
compare, hash and turn into JSON; a figure draws one record, and a test compares one record.
"""

from esm_viz.types.base import (
    FAMILIES,
    WILSON_Z,
    Family,
    FileFacts,
    Inspection,
    Knob,
    Layer,
    Objective,
    Report,
    Split,
    Stage,
    Value,
    silent,
    unseen,
)
from esm_viz.types.merging import Interference, LayerNorms, MergeReport, ScalingProfile
from esm_viz.types.outcomes import REFERENCES, Confusion, Difference, Flip, Flips, Paired, Reference
from esm_viz.types.proofs import ExportProof, ProofRow, WrittenFile
from esm_viz.types.scores import Evaluation, Routing, Score, TaskScores, Which
from esm_viz.types.searching import AlphaCurve, AlphaPoint, AlphaSearch, KnobSearch, KnobTrial, Sweep, SweepCell
from esm_viz.types.subspaces import (
    Angles,
    Draws,
    HeatImage,
    LayerMap,
    Overlap,
    Patch,
    Patches,
    Spectrum,
    Spread,
    Stability,
    SubspaceMap,
)

__all__ = [
    "FAMILIES",
    "REFERENCES",
    "WILSON_Z",
    "AlphaCurve",
    "AlphaPoint",
    "AlphaSearch",
    "Angles",
    "Confusion",
    "Difference",
    "Draws",
    "Evaluation",
    "ExportProof",
    "Family",
    "FileFacts",
    "Flip",
    "Flips",
    "HeatImage",
    "Inspection",
    "Interference",
    "Knob",
    "KnobSearch",
    "KnobTrial",
    "Layer",
    "LayerMap",
    "LayerNorms",
    "MergeReport",
    "Objective",
    "Overlap",
    "Paired",
    "Patch",
    "Patches",
    "ProofRow",
    "Reference",
    "Report",
    "Routing",
    "ScalingProfile",
    "Score",
    "Spectrum",
    "Split",
    "Spread",
    "Stability",
    "Stage",
    "SubspaceMap",
    "Sweep",
    "SweepCell",
    "TaskScores",
    "Value",
    "Which",
    "WrittenFile",
    "silent",
    "unseen",
]
