"""The command line: commands, and their results as text and JSON."""

from esm_viz.cli.commands import main

__all__ = ["main"]
