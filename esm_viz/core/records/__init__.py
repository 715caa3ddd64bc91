"""The frozen records that pass between packages, and the types that they share.

Shapes: T tasks, L layers, W (d_out, d_in), n tokens. Records hold tuples of floats, never tensors, so that they can be
compared, hashed and written as JSON. A figure draws one record.
"""

from esm_viz.core.records.accuracy_score import Evaluation, Routing, Score, TaskScores, Which
from esm_viz.core.records.agreement_result import Estimate, ExpertAgreement, TaskAgreement
from esm_viz.core.records.basic_types import (
    FAMILIES,
    SEARCH_ON,
    WILSON_Z,
    Family,
    FileFacts,
    Inspection,
    Layer,
    Objective,
    Split,
    Stage,
    Value,
    ignore_record,
)
from esm_viz.core.records.export_proof import ExportProof, ProofRow, WrittenFile
from esm_viz.core.records.file_verdict import ActivationScores, JudgedModel, Judgement, OwnAccuracy, Stance, Verdict
from esm_viz.core.records.knob import Knob, Role, Setting, Span
from esm_viz.core.records.merge_report import Interference, LayerNorms, MergeReport, ScalingProfile
from esm_viz.core.records.prediction_outcome import REFERENCES, Confusion, Difference, Flip, Flips, Paired, Reference
from esm_viz.core.records.search_result import (
    AlphaCurve,
    AlphaPoint,
    AlphaSearch,
    KnobSearch,
    KnobTrial,
    Sweep,
    SweepCell,
)
from esm_viz.core.records.subspace_result import (
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
    "SEARCH_ON",
    "WILSON_Z",
    "ActivationScores",
    "AlphaCurve",
    "AlphaPoint",
    "AlphaSearch",
    "Angles",
    "Confusion",
    "Difference",
    "Draws",
    "Estimate",
    "Evaluation",
    "ExpertAgreement",
    "ExportProof",
    "Family",
    "FileFacts",
    "Flip",
    "Flips",
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
    "Paired",
    "Patch",
    "Patches",
    "ProofRow",
    "Reference",
    "Role",
    "Routing",
    "ScalingProfile",
    "Score",
    "Setting",
    "Span",
    "Spectrum",
    "Split",
    "Spread",
    "Stability",
    "Stage",
    "Stance",
    "SubspaceMap",
    "Sweep",
    "SweepCell",
    "TaskAgreement",
    "TaskScores",
    "Value",
    "Verdict",
    "Which",
    "WrittenFile",
    "ignore_record",
]
