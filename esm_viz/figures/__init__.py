"""Record to picture, one file each, no computing: `accuracy_figure(evaluation)` and so on."""

from esm_viz.figures.accuracy import accuracy_figure
from esm_viz.figures.angles import angles_figure
from esm_viz.figures.base import Figure
from esm_viz.figures.confusion import confusion_figure
from esm_viz.figures.curve import curve_figure
from esm_viz.figures.interference import interference_figure
from esm_viz.figures.layer_map import KINDS, layer_map_figure
from esm_viz.figures.norms import norms_figure
from esm_viz.figures.overlap import overlap_figure
from esm_viz.figures.patches import patches_figure
from esm_viz.figures.routing import routes_figure, routing_figure
from esm_viz.figures.scaling import scaling_figure
from esm_viz.figures.spectrum import spectrum_figure
from esm_viz.figures.stability import stability_figure
from esm_viz.figures.subspace_map import subspace_map_figure
from esm_viz.figures.sweep import sweep_figure
from esm_viz.figures.theme import paint
from esm_viz.figures.tuning import tuning_figure

__all__ = [
    "KINDS",
    "Figure",
    "accuracy_figure",
    "angles_figure",
    "confusion_figure",
    "curve_figure",
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
