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
)
from esm_viz.types.loading import ActivationScores, JudgedModel, Judgement, OwnAccuracy, Stance, Verdict
from esm_viz.types.merging import Interference, LayerNorms, MergeReport, ScalingProfile
from esm_viz.types.proofs import ExportProof, ProofRow
from esm_viz.types.scores import Evaluation, Routing, Score, TaskScores, Which
from esm_viz.types.searching import AlphaPoint, AlphaSearch, KnobSearch, KnobTrial, Sweep, SweepCell
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
    "WILSON_Z",
    "ActivationScores",
    "AlphaPoint",
    "AlphaSearch",
    "Angles",
    "Draws",
    "Evaluation",
    "ExportProof",
    "Family",
    "FileFacts",
    "HeatImage",
    "Inspection",
    "Interference",
    "JudgedModel",
    "Judgement",
    "Knob",
    "KnobSearch",
    "KnobTrial",
    "Layer",
    "LayerMap",
    "LayerNorms",
    "MergeReport",
    "Objective",
    "Overlap",
    "OwnAccuracy",
    "Patch",
    "Patches",
    "ProofRow",
    "Report",
    "Routing",
    "ScalingProfile",
    "Score",
    "Spectrum",
    "Split",
    "Spread",
    "Stability",
    "Stage",
    "Stance",
    "SubspaceMap",
    "Sweep",
    "SweepCell",
    "TaskScores",
    "Value",
    "Verdict",
    "Which",
    "silent",
]
