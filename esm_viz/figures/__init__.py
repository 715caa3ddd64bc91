"""Figures: each module draws one kind of record, such as `accuracy_figure(evaluation)`; nothing is computed here."""

from esm_viz.figures.accuracy_figure import accuracy_figure
from esm_viz.figures.agreement_figure import agreement_figure
from esm_viz.figures.alpha_curve_figure import curve_figure
from esm_viz.figures.angles_figure import angles_figure
from esm_viz.figures.between_points_figure import between_points_figure
from esm_viz.figures.colour_theme import paint
from esm_viz.figures.confusion_figure import confusion_figure
from esm_viz.figures.direction_size_figure import direction_size_figure
from esm_viz.figures.figure_parts import Figure
from esm_viz.figures.interference_figure import interference_figure
from esm_viz.figures.knob_tuning_figure import tuning_figure
from esm_viz.figures.layer_map_figure import KINDS, layer_map_figure
from esm_viz.figures.layer_norms_figure import norms_figure
from esm_viz.figures.overlap_figure import overlap_figure
from esm_viz.figures.patches_figure import patches_figure
from esm_viz.figures.routing_figure import routes_figure, routing_figure
from esm_viz.figures.scaling_profile_figure import scaling_figure
from esm_viz.figures.spectrum_figure import spectrum_figure
from esm_viz.figures.stability_figure import stability_figure
from esm_viz.figures.subspace_map_figure import subspace_map_figure
from esm_viz.figures.sweep_figure import sweep_figure

__all__ = [
    "KINDS",
    "Figure",
    "accuracy_figure",
    "agreement_figure",
    "angles_figure",
    "between_points_figure",
    "confusion_figure",
    "curve_figure",
    "direction_size_figure",
    "interference_figure",
    "layer_map_figure",
    "norms_figure",
    "overlap_figure",
    "paint",
    "patches_figure",
    "routes_figure",
    "routing_figure",
    "scaling_figure",
    "spectrum_figure",
    "stability_figure",
    "subspace_map_figure",
    "sweep_figure",
    "tuning_figure",
]
