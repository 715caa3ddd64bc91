"""Copies of a module's structure that share its values."""

from __future__ import annotations

import copy

from torch import nn


def copied(module: nn.Module) -> nn.Module:
    """Return a module whose own modules, parameters and hooks may be replaced; all values are shared with the original.

    A deep copy of the demo's tower takes a third of the time of its forward pass over 64 images.
    """
    own = copy.copy(module)
    parts = vars(own)
    parts |= {name: value.copy() for name, value in parts.items() if isinstance(value, dict)}  # parameters, hooks, …
    parts["_modules"] = {name: child and copied(child) for name, child in parts["_modules"].items()}
    return own
