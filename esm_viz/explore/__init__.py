"""Analyses of the Explore tab: what fine-tuning changed in the model, and what a merge keeps; one module per question.

Importing the package imports all its modules, so a new question needs only a new file.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _module in sorted(found.name for found in iter_modules(__path__)):
    import_module(f"{__name__}.{_module}")
