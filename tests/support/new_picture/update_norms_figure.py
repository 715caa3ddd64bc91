"""The picture of a record that only a test adds."""

from __future__ import annotations

from esm_viz.core.records.update_norms_record import UpdateNorms

from esm_viz.figures.figure_parts import Figure


def update_norms_figure(record: UpdateNorms) -> Figure:
    """Draw a bar a layer."""
    return {"data": [{"type": "bar", "x": list(record.layers), "y": list(record.values)}], "layout": {}}
