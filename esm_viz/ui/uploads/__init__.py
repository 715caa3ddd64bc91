"""What visitors bring: files received within limits, unpacked with care, and read as a project."""

from esm_viz.ui.uploads.upload_unpack import take

__all__ = ["take"]
