"""The studio: the Gradio page. Handlers call the other packages and draw figures; there is no mathematics here."""

from esm_viz.ui.studio_server import serve

__all__ = ["serve"]
