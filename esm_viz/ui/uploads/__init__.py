"""Uploads of visitors: receiving files within limits, unpacking them safely, and reading them as a project."""

from esm_viz.ui.uploads.upload_unpack import take

__all__ = ["take"]
