"""Merge methods: each module registers one method with the `merge_method` decorator.

Importing the package imports its modules, so a new file adds a method to the studio, the command line, the documented
table and the tests that all methods must pass.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from esm_viz.merge.method_registry import (
    METHODS,
    LayerUpdate,
    Memo,
    Method,
    checked,
    knob_of,
    run_now,
    settle,
    static_part,
    with_method,
    with_parameters,
)

for _module in sorted(found.name for found in iter_modules(__path__)):
    import_module(f"{__name__}.{_module}")
for _name in sorted(METHODS, key=lambda name: METHODS[name].source):  # arXiv numbers: the order of publication
    METHODS[_name] = METHODS.pop(_name)

__all__ = [
    "METHODS",
    "LayerUpdate",
    "Memo",
    "Method",
    "checked",
    "knob_of",
    "run_now",
    "settle",
    "static_part",
    "with_method",
    "with_parameters",
]
