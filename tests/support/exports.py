"""What an exported folder holds."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open


def names(folder: Path) -> list[str]:
    """Return the names in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def metadata_of(path: Path) -> dict[str, str]:
    """Return what a `.safetensors` file says of itself."""
    with safe_open(path, "pt") as file:
        return file.metadata()
