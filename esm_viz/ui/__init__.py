"""The studio: Gradio pages over the pipeline. Handlers call the pipeline and draw figures; no mathematics here."""

from esm_viz.ui.studio_server import serve

__all__ = ["serve"]
