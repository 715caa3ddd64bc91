"""Explore: what fine-tuning did to the model and what a merge does with it, one file a question.

Importing the package imports its modules, so a new file is a new question, with no list to extend.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _module in sorted(found.name for found in iter_modules(__path__)):
    import_module(f"{__name__}.{_module}")
