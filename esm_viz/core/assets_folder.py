"""The folder of assets: the studio's scripts and style sheets, the demo, the papers' tasks."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def assets_folder() -> Path:
    """Return the folder of assets, which is inside an installed package and beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "assets"
    return installed if installed.is_dir() else package.parent / "assets"
